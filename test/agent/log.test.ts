// The log as it leaves the program: JSON lines on standard error, without secrets.
import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'

const logged = (code: string): { stdout: string; lines: Record<string, unknown>[] } => {
  const module = JSON.stringify(new URL('../../agent/log.ts', import.meta.url).href)
  const program = `const { openLog } = await import(${module})\n${code}`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
  const lines = stderr.split('\n').filter((line) => line !== '')
  return { stdout, lines: lines.map((line): Record<string, unknown> => JSON.parse(line)) }
}

test('writes JSON lines to standard error, at once and from its level on', () => {
  const code = `const log = openLog({ level: 'info' })
    log.debug('not wanted')
    log.info({ machine: 'db1' }, 'wanted')
    process.exit(0)`
  const { stdout, lines } = logged(code)
  expect(stdout).toBe('')
  expect(lines).toMatchObject([{ msg: 'wanted', machine: 'db1' }])
  expect(logged(`openLog({ level: 'silent' }).fatal('x')`).lines).toEqual([])
})

test('never shows what could be a secret', () => {
  const code = `const secret = 'hunter2'
    const log = openLog({ level: 'info' })
    log.info({ token: secret, authorization: secret, idKey: secret, order: { idKey: secret, job: 'j' }, a: { b: { key: secret } } }, 'x')`
  const { lines } = logged(code)
  expect(JSON.stringify(lines)).not.toContain('hunter2')
  expect(lines).toMatchObject([{ token: '[redacted]', order: { job: 'j' } }])
})
