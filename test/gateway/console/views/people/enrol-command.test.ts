// The command that enrols a host. Method: a real shell runs it, with programs in its path that note what they are given.
import { execFileSync } from 'node:child_process'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { parseConfig } from '../../../../../agent/config.ts'
import { enrolCommand, gatewayAddress } from '../../../../../gateway/console/views/people/enrol-command.ts'
import { tempFolder } from '../../../../support/temp.ts'

const CERTIFICATE = '-----BEGIN CERTIFICATE-----\nMIIB $HOME `id`\n-----END CERTIFICATE-----\n'

test('a shell writes certificate and configuration, and hands the token over by standard input', async () => {
  await using temp = await tempFolder()
  const programs = temp.join('programs')
  await mkdir(programs)
  for (const [name, body] of [
    ['varve-agent', `echo "$@" > ${temp.path}/arguments; cat > ${temp.path}/token`],
    ['systemctl', `echo "$@" > ${temp.path}/service`],
  ] as const) {
    await writeFile(`${programs}/${name}`, `#!/bin/sh\n${body}\n`)
    await chmod(`${programs}/${name}`, 0o755)
  }
  const run = (token: string): void => {
    const command = enrolCommand({ address: 'wss://backup.example:8470', token, certificate: CERTIFICATE })
    const moved = command.replaceAll('/etc/varve', temp.join('etc'))
    execFileSync('/bin/sh', ['-e', '-c', moved], { env: { PATH: `${programs}:/usr/bin:/bin`, HOME: '/nowhere' } })
  }
  run('a.b.c')
  expect(await readFile(temp.join('arguments'), 'utf8')).toBe('enrol --gateway wss://backup.example:8470 --token -\n')
  expect(await readFile(temp.join('token'), 'utf8')).toBe('a.b.c\n')
  expect(await readFile(temp.join('service'), 'utf8')).toBe('enable --now varve-agent\n')
  expect(await readFile(temp.join('etc/gateway.crt'), 'utf8')).toBe(CERTIFICATE)
  const config = await readFile(temp.join('etc/agent.toml'), 'utf8')
  expect(parseConfig('agent.toml', config)).toMatchObject({
    gateway: 'wss://backup.example:8470',
    ca: temp.join('etc/gateway.crt'),
  })
  // a configuration that is there stays
  await writeFile(temp.join('etc/agent.toml'), '# own\n')
  run('d.e.f')
  expect(await readFile(temp.join('etc/agent.toml'), 'utf8')).toBe('# own\n')
  expect(await readFile(temp.join('token'), 'utf8')).toBe('d.e.f\n')
})

test('an address that a person wrote is one word of the shell, whatever it is', () => {
  const command = enrolCommand({ address: "wss://a$(id)'b", token: 'a.b.c', certificate: null })
  expect(command).toContain(`--gateway 'wss://a$(id)'\\''b' --token -`)
  expect(command).not.toContain('ca =')
})

test('the address of the gateway is that of the page, without path and query', () => {
  expect(gatewayAddress('https://backup.example:8470/console/?a=1#/people/enrol')).toBe('wss://backup.example:8470')
  expect(gatewayAddress('http://[::1]:8470/')).toBe('ws://[::1]:8470')
})
