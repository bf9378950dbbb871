// The log: secrets never get into it, it goes to standard error at once, and a full disk ends nobody.
import { execFile, spawnSync } from 'node:child_process'
import { closeSync, openSync, statSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { tinyFileSystem } from '../../agent/restore/devices.ts'
import { Filler } from '../../support/full-disk.ts'
import { tempFolder } from '../../support/temp.ts'

const MODULE = path.join(import.meta.dirname, '../../../protocol/host/log.ts')

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

test('writes at once, also of a process that ends itself', async () => {
  const text = await logged("log.debug('not wanted'); log.info({ machine: 'db1' }, 'wanted'); process.exit(0)")
  expect(JSON.parse(text)).toMatchObject({ msg: 'wanted', machine: 'db1' })
})
