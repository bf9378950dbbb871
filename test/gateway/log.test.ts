// The log: secrets never get into it, neither by name in a process of its own nor from a whole session of a real gateway.
import { execFile, spawnSync } from 'node:child_process'
import { closeSync, openSync, statSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { enrolHost } from '../../agent/enrol.ts'
import { Identity } from '../../agent/identity.ts'
import { dial } from '../../protocol/host/dial.ts'
import { systemClock } from '../../gateway/clock.ts'
import { openLocal } from '../../gateway/catalog/sqlite/database.ts'
import { VarveError } from '../../protocol/errors.ts'
import { tinyFileSystem } from '../agent/restore/devices.ts'
import { Filler } from '../support/full-disk.ts'
import { tempFolder } from '../support/temp.ts'
import { codeOf } from './auth/test-authority.ts'
import { runGateway, ServingGateway } from './program.ts'

const MODULE = path.join(import.meta.dirname, '../../gateway/log.ts')

/** What the log writes when a process of its own runs these statements on it. */
const logged = async (statements: string, level = 'info'): Promise<string> => {
  const program = `import { openLog } from ${JSON.stringify(MODULE)}; const log = openLog({ level: '${level}' }); ${statements}`
  const { stderr, stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program])
  expect(stdout).toBe('')
  return stderr
}

test('fields that name secrets are redacted, wherever they stand two levels deep', async () => {
  const fields = ['token', 'authorization', 'password', 'idKey', 'secret', 'privateKey', 'key', 'd']
  const statements = fields.map(
    (name) => `log.info({ ${name}: 'hush', a: { ${name}: 'hush', b: { ${name}: 'hush' } }, plain: '${name}' }, 'text')`,
  )
  const lines = (await logged(statements.join(';'))).trim().split('\n')
  expect(lines).toHaveLength(fields.length)
  for (const [index, line] of lines.entries()) {
    expect(line).not.toContain('hush')
    expect(JSON.parse(line)).toMatchObject({ plain: fields[index], msg: 'text', level: 30 })
  }
})

test('an error keeps its words and loses secrets beside them; a level holds back what is below it', async () => {
  const text = await logged(
    "log.warn({ err: Object.assign(new Error('words'), { token: 'hush', details: { token: 'hush' } }) }, 'failed'); log.info('quiet')",
    'warn',
  )
  expect(text).toContain('words')
  expect(text).not.toMatch(/hush|quiet/u)
  expect(await logged("log.error('x')", 'silent')).toBe('')
})

test('a log that is a file on a full disk ends nobody', async () => {
  await using temp = await tempFolder()
  await using disk = (await tinyFileSystem(temp.join('disk'), 2 ** 20))!
  using filler = new Filler(disk.path)
  const file = path.join(disk.path, 'gateway.log')
  const fd = openSync(file, 'a')
  filler.fill()
  const program = `import { openLog } from ${JSON.stringify(MODULE)}; const log = openLog({ level: 'info' });
    for (let line = 0; line < 20000; line++) log.info('x'.repeat(100)); console.log('alive')`
  const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', fd],
    encoding: 'utf8',
  })
  closeSync(fd)
  expect([status, stdout, statSync(file).size]).toEqual([0, 'alive\n', 0])
})

test('a gateway at its most talkative tells neither a token nor a key', async () => {
  await using temp = await tempFolder()
  const at = ['--data', temp.join('data')]
  await using gateway = await ServingGateway.start([...at, '--log-level', 'trace'])
  await runGateway(['tenant', 'add', 'acme', ...at])
  const printed = async (...args: string[]) => (await runGateway([...args, '--tenant', 'acme', ...at])).stdout.trim()
  const [owner, enrolment] = [await printed('token', '--role', 'owner'), await printed('enrol')]
  const state = temp.join('state')
  await enrolHost({ gateway: gateway.url, ca: null, token: enrolment, state })
  const assertion = await (await Identity.load(state)).assertion(Date.now())
  const open = (token: string, serving = false) =>
    dial({ gateway: gateway.url, ca: null, token, program: 'test', serving, handlers: {}, clock: systemClock })
  const agent = await open(assertion, true)
  const bad = `${owner.slice(0, -6)}AAAAAA`
  expect(await codeOf(open(bad))).toBe('TOKEN_SIGNATURE')
  expect(await codeOf(enrolHost({ gateway: gateway.url, ca: null, token: enrolment, state, force: true }))).toBe(
    'ENROLMENT_USED',
  )
  await agent.peer.call('agent.inventory', { host: 'h', machines: ['db1'], jobs: [] })
  expect(await codeOf(agent.peer.call('session.renew', { token: bad }))).toBe('TOKEN_SIGNATURE')
  const person = await open(owner)
  const started = person.peer.call('backup.start', { machine: 'db1', full: false })
  expect(await codeOf(started)).toBe('METHOD_UNKNOWN')
  for (const { peer } of [agent, person]) peer.close(new VarveError('CANCELLED', 'done'))
  const { stderr } = await gateway.stop()
  expect(stderr).toContain('backup starts')
  using catalog = openLocal(temp.join('data', 'catalog.db'))
  const tenant = (await catalog.tenants.byName({ name: 'acme' }))!
  const key = Buffer.from(tenant.idKey)
  const secrets = [owner, enrolment, assertion, bad].flatMap((token) => [
    token,
    token.split('.')[2]!,
    token.split('.')[1]!,
  ])
  for (const secret of [...secrets, key.toString('hex'), key.toString('base64'), [...key.subarray(0, 8)].join(',')])
    expect(stderr).not.toContain(secret)
})
