// A QEMU without a guest that takes the place of a machine that is off, while its disks are brought in.
import { spawn } from 'node:child_process'
import { VarveError } from '../../protocol/errors.ts'
import { guardEnvironment } from '../guard-environment.ts'
import { mendOverlay } from './overlay.ts'
import type { InstantRecord, Places } from './record.ts'
import { QEMU_DEFAULT } from './start-script.ts'

/** Most characters kept of what it says. */
const SAID_CHARS_MAX = 4096

const option = (text: string): string => text.replaceAll(',', ',,')

export interface StandIn extends AsyncDisposable {
  /** Resolves with what it said once it has ended by itself. */
  readonly ended: Promise<string>
}

/** It dies with this process; a machine that is started meanwhile is refused by its script or QEMU's image lock. TOOL_MISSING. */
export const startStandIn = async (places: Places, record: InstantRecord): Promise<StandIn> => {
  const { disks, domain } = record
  for (const disk of disks) await mendOverlay(disk, places, record)
  const drives = disks
    .filter(({ alone }) => !alone)
    .flatMap(({ file }, index) => ['-drive', `file=${option(file)},format=qcow2,if=none,id=disk${index}`])
  const machine = '-S -nodefaults -no-user-config -display none -machine none'.split(' ')
  const qmp = ['-qmp', `unix:${option(places.qmp)},server=on,wait=off`]
  // with the lock of the start script, which says then that the machine runs
  const lock = domain === null ? places.script : places.domain
  const locked = ['setpriv', '--pdeathsig', 'KILL', 'flock', '--no-fork', '-n', lock] as const
  const [program, ...before] = locked
  const child = spawn(program, [...before, QEMU_DEFAULT, ...machine, ...drives, ...qmp], {
    // Ctrl-C at the terminal is for the command, which ends it cleanly
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: guardEnvironment(),
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (piece: string) => (said = (said + piece).slice(-SAID_CHARS_MAX)))
  const ended = new Promise<string>((resolve) => {
    child.once('error', ({ message }) => resolve(message))
    child.once('close', () => resolve(said.trim()))
  })
  if (child.pid === undefined)
    throw new VarveError('TOOL_MISSING', `setpriv is not installed (Debian package util-linux): ${await ended}`)
  return {
    ended,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGTERM')
      await ended
    },
  }
}
