// Notifications by the program: from a target to the mail of a machine that is late, over a gateway that is killed meanwhile;
// what is secret is nowhere but in its key's care.
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { NOTICE_KEY_NAME } from '../../../gateway/notify/secrets.ts'
import { tempFolder } from '../../support/temp.ts'
import { makeAuthority, MailServer, PASSWORD, Receiver } from '../notify/servers.ts'
import { runHere } from '../../commands/run-here.ts'
import { ServingGateway } from '../program.ts'

/** Every byte of a folder's files, but of one that is named. */
const bytesOf = async (folder: string, but: string): Promise<string> => {
  const files = await readdir(folder, { recursive: true, withFileTypes: true })
  const paths = files
    .filter((file) => file.isFile() && file.name !== but)
    .map((file) => path.join(file.parentPath, file.name))
  return (await Promise.all(paths.map((file) => readFile(file, 'latin1').catch(() => '')))).join('\n')
}

const TIMEOUT_MS = 15_000

test(
  'from a target to a mail, over the death of the gateway; secrets are nowhere to be read',
  { timeout: 90_000 },
  async () => {
    await using temp = await tempFolder()
    const { authority, pair } = await makeAuthority(temp.path)
    await using mail = await MailServer.listen(pair)
    await using hook = await Receiver.listen()
    const data = temp.join('data')
    await mkdir(data)
    const files = { secret: PASSWORD, authority, url: `${hook.url}/ping/hush-hush`, hook: `${hook.url}/hook/whisper` }
    for (const [name, text] of Object.entries(files)) await writeFile(temp.join(name), `${text}\n`, { mode: 0o600 })
    const run = async (...args: string[]) => {
      const { code, stdout, stderr } = await runHere('varve-gateway', [...args, '--data', data])
      expect([args, code], stderr).toEqual([args, 0])
      return stdout
    }
    const of = ['--tenant', 'acme']
    await run('tenant', 'add', 'acme', '--no-plan')
    const server = ['--smtp', `127.0.0.1:${mail.port}`, '--user', 'varve', '--authority', temp.join('authority')]
    const people = ['--from', 'varve@example.org', '--to', 'ann@example.org', '--to', 'bob@example.org']
    const secret = ['--secret-file', temp.join('secret')]
    await run('notify', 'target', 'add', 'mail', ...server, ...people, ...secret, ...of)
    const serving = ['--data', data, '--notify-private']
    let gateway = await ServingGateway.start(serving)
    expect(await run('notify', 'test', 'mail', ...of)).toMatch(/taken by mail after \d+ ms: 250 queued as 42/u)
    expect(mail.mails[0]!.to).toEqual(['ann@example.org', 'bob@example.org'])
    await run(
      'notify',
      'target',
      'add',
      'hook',
      '--webhook-file',
      temp.join('hook'),
      '--secret-file',
      temp.join('secret'),
    )
    await run('notify', 'ping', '--url-file', temp.join('url'), '--every', '1m')
    await expect
      .poll(() => hook.requests.map(({ path: to }) => to), { timeout: TIMEOUT_MS })
      .toContain('/ping/hush-hush')
    await expect.poll(() => run('notify', 'ping'), { timeout: TIMEOUT_MS }).toContain('answered last at')
    await gateway.stop('SIGKILL')
    // a machine becomes late while no gateway runs
    {
      using catalog = openLocal(`${data}/catalog.db`)
      const { id: tenant } = (await catalog.tenants.byName({ name: 'acme' }))!
      const state = {
        kind: 'machine.state',
        key: 'machine.state db1',
        machine: 'db1',
        severity: 'error',
        value: 'late',
      } as const
      const said = { tenant, text: 'db1 is late: start its agent', data: {} }
      await catalog.conditions.apply({ changes: [{ holds: true, ...state, ...said }], nowMs: Date.now() })
    }
    gateway = await ServingGateway.start(serving)
    await using running = gateway
    await expect.poll(() => mail.mails.length, { timeout: TIMEOUT_MS }).toBe(2)
    expect(mail.mails[1]!.raw).toContain('Subject: [Varve] error: acme/db1: db1 is late: start its agent')
    const outbox = JSON.parse(await run('notify', 'outbox', '--json', ...of)) as { notices: { state: string }[] }
    expect(outbox.notices.map(({ state }) => state)).toEqual(['sent'])
    // who goes another way has to know the password
    const stolen = ['notify', 'target', 'add', 'mail', '--smtp', '127.0.0.1:1', '--user', 'varve', '--security', 'none']
    const eve = ['--from', 'varve@example.org', '--to', 'eve@example.org', '--data', data, ...of]
    expect(await runHere('varve-gateway', [...stolen, ...eve])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('password') as string,
    })
    const listed = await run('notify', 'target', 'list', ...of)
    expect(listed).toContain('password')
    const everywhere = `${await bytesOf(data, NOTICE_KEY_NAME)}${running.log}${listed}${await run('audit', 'list', '--json', ...of)}`
    for (const secret of [PASSWORD, 'hush-hush', 'whisper', Buffer.from(PASSWORD).toString('base64')])
      expect(everywhere.includes(Buffer.from(secret).toString('latin1')), secret).toBe(false)
    await running.stop()
    // a catalog without the key gives nothing away, and says so
    const copy = temp.join('copy')
    await cp(data, copy, { recursive: true, filter: (file) => !file.endsWith('.sock') })
    await rm(path.join(copy, 'keys', NOTICE_KEY_NAME))
    const lost = await runHere('varve-gateway', ['notify', 'target', 'list', ...of, '--data', copy])
    expect(lost.stdout).toContain('lost: set them again')
    const failed = await runHere('varve-gateway', ['notify', 'test', 'mail', ...of, '--data', copy])
    expect(failed).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('set the secrets of this target again') as string,
    })
  },
)

test('what is wrong is said before anything is changed', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  await mkdir(data)
  await runHere('varve-gateway', ['tenant', 'add', 'acme', '--no-plan', '--data', data])
  const wrong = async (...args: string[]) => {
    const { code, stderr } = await runHere('varve-gateway', [...args, '--tenant', 'acme', '--data', data])
    return `${code} ${stderr}`
  }
  await writeFile(temp.join('match'), '{"severty": "error"}')
  await writeFile(temp.join('empty'), '')
  expect(await wrong('notify', 'target', 'add', 'a')).toContain('2 varve-gateway: say where it goes')
  expect(await wrong('notify', 'target', 'add', 'a', '--smtp', 'a.example')).toContain('--from and --to')
  const gotify = ['notify', 'target', 'add', 'a', '--gotify', 'https://a.example', '--secret-file']
  expect(await wrong(...gotify, temp.join('empty'))).toContain('it is empty')
  expect(await wrong(...gotify, temp.join('nowhere'))).toContain('ENOENT')
  const rule = ['notify', 'rule', 'set', 'r', '--target', 'a']
  expect(await wrong(...rule, '--match', temp.join('match'))).toContain('"severty"')
  expect(await wrong(...rule, '--quiet', 'at night')).toContain('at night')
  expect(await wrong(...rule)).toContain('there is no target "a"')
  expect(await wrong('notify', 'mute', '--for', '1h', '--reason', 'x', '--kind', 'jobs')).toContain(
    'there is no "jobs"',
  )
})
