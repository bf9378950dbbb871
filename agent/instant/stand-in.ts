// A QEMU without a guest that takes the place of a machine that is off, while its disks are brought in.
import { startTied } from '../processes/tied-process.ts'
import { mendOverlay } from './overlay.ts'
import type { InstantRecord, Places } from './record.ts'
import { QEMU_DEFAULT } from './start-script.ts'

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
  const locked = ['flock', '--no-fork', '-n', lock]
  const qemu = await startTied([...locked, QEMU_DEFAULT, ...machine, ...drives, ...qmp])
  return { ended: qemu.ended, [Symbol.asyncDispose]: () => qemu.end('SIGTERM') }
}
