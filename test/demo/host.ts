// What the demonstration's guests run on: QEMU that is started as a program, or libvirt.
import path from 'node:path'
import type { GuestImage } from '../rig/build-guest.ts'
import { bootGuest, type Guest, type GuestDisk } from '../rig/guest.ts'

export interface DemoDisk {
  /** As the guest and the restore points name it. */
  readonly id: string
  /** The disk's name in the guest's reports. */
  readonly letter: string
  readonly format: 'raw' | 'qcow2'
  readonly size: string
}

export interface BootOptions {
  readonly image: GuestImage
  readonly name: string
  readonly disks: readonly GuestDisk[]
  /** More kernel arguments. */
  readonly append?: string
  /** It is the machine that the agent backs up. */
  readonly backedUp: boolean
}

/** Disposing it ends its service, guests included. */
export interface Host extends AsyncDisposable {
  /** The guest's disks, in its order. */
  readonly disks: readonly DemoDisk[]
  /** Behind the word "guest" in what the person reads. */
  readonly where: string
  /** The attachment of each point that describes the whole machine, and what it must contain; null where there is none. */
  description(machine: string): { readonly name: string; readonly contains: readonly string[] } | null
  /** The lines of the agent's `[[machine]]` that say how the machine is reached. */
  machineKeys(machine: string): string
  /** Starts what guests need, where that is a service. */
  start(): Promise<void>
  boot(options: BootOptions): Promise<Guest>
  /** Commands by which a person may look around. */
  hints(machine: string): readonly string[]
}

/** QEMU as a program of its own. */
export const plainHost = (folder: string): Host => {
  const [agentQmp, operatorQmp] = ['agent.qmp', 'operator.qmp'].map((name) => path.join(folder, name)) as [
    string,
    string,
  ]
  const guestAgent = path.join(folder, 'guest-agent.sock')
  return {
    // One in a format that keeps bitmaps itself, one that cannot.
    disks: [
      { id: 'vda', letter: 'a', format: 'qcow2', size: '512M' },
      { id: 'vdb', letter: 'b', format: 'raw', size: '256M' },
    ],
    where: '',
    description: () => null,
    machineKeys: () => `qmp = "${agentQmp}"\nguest_agent = "${guestAgent}"`,
    start: () => Promise.resolve(),
    boot: ({ backedUp, ...options }) => {
      const sockets = backedUp ? { qmp: [agentQmp, operatorQmp], guestAgent } : {}
      return bootGuest({ ...options, ...sockets, folder })
    },
    hints: () => [],
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}
