// Before the first test file: clears what former runs left, and starts the keeper of this one. After the last: waits until
// it has ended what is left.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { clearFormerRuns, makeRunFolder, RUN_FOLDER_VARIABLE } from './run-folder.ts'

/** Set by a program that runs the tests and holds their standard input open for as long as it lives. */
export const LIFELINE_VARIABLE = 'VARVE_TEST_LIFELINE'

const KEEPER = path.join(import.meta.dirname, 'keeper.ts')

/** Ends this process when the one that started it has gone. */
const holdLifeline = (): void => {
  if (process.env[LIFELINE_VARIABLE] === undefined) return
  process.stdin.on('close', () => process.exit(1))
  process.stdin.resume().unref()
}

const setup = async (): Promise<() => Promise<void>> => {
  holdLifeline()
  const base = tmpdir()
  for (const { pid, command } of await clearFormerRuns(base))
    console.error(`left by a former run and ended: ${pid} ${command}`)
  const folder = await makeRunFolder(base)
  // detached, so that Ctrl-C does not end it before its work
  const keeper = spawn(process.execPath, [KEEPER, folder], { detached: true, stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(keeper, 'close')
  await once(keeper.stdout, 'data')
  keeper.unref()
  process.env[RUN_FOLDER_VARIABLE] = folder
  process.env['TMPDIR'] = folder
  return async () => {
    keeper.ref()
    keeper.stdin.end('over\n')
    await ended
  }
}

export default setup
