// What the parts of this driver share: the driver's host and the way to QEMU.

import type { QmpCaller } from '../../qmp/client.ts'
import type { DriverHost } from '../driver.ts'
import type { StandIns } from '../../push/stand-ins.ts'
import type { ScratchHost } from '../scratch.ts'
import type { QmpEntry } from './entry.ts'

export interface QmpHost extends DriverHost, ScratchHost {
  /** A client of the machine's one QMP connection, never closed by a lease; QMP_UNAVAILABLE when there is none. */
  readonly connect: (qmpPath: string) => Promise<QmpCaller>
  /** Take the places of processes that QEMU writes to. */
  readonly standIns: StandIns
  /** Keeps watching the scratch space of a lease that could not be ended. */
  readonly watchLeft: (entry: QmpEntry) => void
}
