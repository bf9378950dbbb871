// What the parts of this driver share: the driver's host and the way to libvirt.

import type { LibvirtCaller } from '../../libvirt/types.ts'
import type { DriverHost } from '../driver.ts'
import type { ScratchHost } from '../scratch.ts'
import type { CheckpointNotes } from './checkpoint-notes.ts'
import type { LibvirtEntry } from './entry.ts'

export interface LibvirtHost extends DriverHost, ScratchHost {
  readonly notes: CheckpointNotes
  /** The one connection to a libvirt, never closed by a lease; LIBVIRT_UNAVAILABLE when there is none. */
  readonly connect: (uri: string) => Promise<LibvirtCaller>
  /** Keeps watching the scratch space of a lease that could not be ended. */
  readonly watchLeft: (entry: LibvirtEntry) => void
}
