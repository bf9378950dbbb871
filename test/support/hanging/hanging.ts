// A test that starts a process as agents start their guards, writes down its number and that of its own process, and never ends.
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { test } from 'vitest'
import { guardEnvironment } from '../../../agent/guard-environment.ts'

test('hangs', async () => {
  const program = "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)"
  const child = spawn(process.execPath, ['-e', program], { detached: true, stdio: 'ignore', env: guardEnvironment() })
  child.unref()
  writeFileSync(process.env['VARVE_HANGING_FILE']!, JSON.stringify({ guard: child.pid, file: process.pid }))
  await new Promise(() => {})
})
