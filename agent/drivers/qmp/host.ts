// What the parts of this driver share: the driver's host, the way to QEMU, and the folders of scratch space and sockets.

import type { QmpCaller } from '../../qmp/client.ts'
import type { DriverHost } from '../driver.ts'
import type { QmpEntry } from './entry.ts'

export interface LeaseFolders {
  /** Holds a folder for each lease, named by its id. */
  readonly scratch: string
  /** Holds a folder with a short name for each lease's sockets. */
  readonly runtime: string
}

export interface QmpHost extends DriverHost {
  /** A client of the machine's one QMP connection, never closed by a lease; QMP_UNAVAILABLE when there is none. */
  readonly connect: (qmpPath: string) => Promise<QmpCaller>
  readonly folders: LeaseFolders
  readonly freeBytes: (folder: string) => Promise<number>
  /** Keeps watching the scratch space of a lease that could not be ended. */
  readonly watchLeft: (entry: QmpEntry) => void
}
