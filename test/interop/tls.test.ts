// The whole path over TLS, with a certificate authority of one's own: enrol, back up, restore; without it, nothing.
import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { Dice } from '../support/model-dice.ts'
import { MIB, ModelMachine } from '../support/model-machine.ts'
import { expectDisks } from '../support/stand-checks.ts'
import { Program } from '../support/stand-program.ts'
import { tempFolder } from '../support/temp.ts'

const run = promisify(execFile)

/** What a command printed; it must have ended with this exit code. */
const outputOf = async (program: 'gateway' | 'agent', args: readonly string[], code = 0): Promise<string> => {
  await using command = new Program(program, args)
  const ended = await command.ended
  expect({ code: ended.code, stderr: ended.stderr }).toMatchObject({ code })
  return code === 0 ? ended.stdout.trim() : ended.stderr
}

test('a gateway with a certificate of its own authority serves who trusts it, and nobody else trusts it', async () => {
  await using folder = await tempFolder()
  const [cert, key, data] = [folder.join('cert.pem'), folder.join('key.pem'), folder.join('data')]
  const subject = ['-subj', '/CN=varve', '-addext', 'subjectAltName=IP:127.0.0.1']
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  await run('openssl', ['req', '-x509', ...curve, '-keyout', key, '-out', cert, '-days', '2', ...subject])
  const listen = ['--listen', '127.0.0.1:0', '--tls-cert', cert, '--tls-key', key]
  await using gateway = new Program('gateway', ['serve', '--data', data, ...listen])
  const [url] = await gateway.says(/wss:\/\/127\.0\.0\.1:\d+/)
  await outputOf('gateway', ['tenant', 'add', 'acme', '--no-plan', '--data', data])
  const token = await outputOf('gateway', ['enrol', '--tenant', 'acme', '--data', data])
  const content = new Dice(80).bytes(16 * MIB)
  await using machine = await ModelMachine.start({
    name: 'db1',
    folder: folder.join('db1'),
    disks: [{ id: 'vda', format: 'qcow2', size: 16 * MIB, content }],
  })
  const configOf = async (name: string, ca: string): Promise<string[]> => {
    const machineLines = `[[machine]]\nname = "db1"\nqmp = "${machine.qemu.qmpPath}"\n`
    const reserve = 'scratch_reserve = "32 MiB"\n'
    await writeFile(
      folder.join(name),
      `gateway = "${url}"\n${ca}state = "${folder.join('state')}"\n${reserve}${machineLines}`,
    )
    return ['--config', folder.join(name)]
  }
  const trusting = await configOf('agent.toml', `ca = "${cert}"\n`)
  const wary = await configOf('wary.toml', '')
  expect(await outputOf('agent', ['enrol', '--gateway', url, '--token', token, ...wary], 3)).toContain('set "ca"')
  await outputOf('agent', ['enrol', '--gateway', url, '--token', token, ...trusting])
  await using agent = new Program('agent', ['run', ...trusting])
  await agent.says(/connected to the gateway/)
  const backup = await outputOf('agent', ['backup', 'db1', '--json', ...trusting])
  const { point } = JSON.parse(backup) as { point: { id: string } }
  expect(await outputOf('agent', ['points', ...wary], 3)).toContain('set "ca"')
  const to = folder.join('vda.raw')
  await outputOf('agent', ['restore', point.id, '--disk', 'vda', '--to', to, ...trusting])
  expectDisks(new Map([['vda', await readFile(to)]]), machine.snapshot())
})
