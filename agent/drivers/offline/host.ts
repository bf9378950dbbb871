// What the parts of this driver share.

import type { DriverHost } from '../driver.ts'
import type { RunTool } from './tools.ts'

export interface OfflineHost extends DriverHost {
  /** Holds a folder with a short name for each lease's sockets. */
  readonly runtimeFolder: string
  /** How long a lease's storage daemon outlives a silent agent, in milliseconds. */
  readonly silenceMs: number
  /** Where volumes are: /dev. */
  readonly deviceFolder: string
  readonly run: RunTool
  /** Surrounds every action that changes something on the host. */
  readonly act: <T>(action: () => Promise<T>) => Promise<T>
}
