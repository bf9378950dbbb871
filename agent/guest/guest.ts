// A guest that is frozen and thawed: by its agent's socket, or by libvirt where its machine is libvirt's; or, stopped and
// continued, its whole machine.

import { GuestChannel, type GuestCommandOptions } from './channel.ts'
import { isLibvirtGuest, LibvirtGuest, socketBesideLibvirt } from './libvirt-guest.ts'
import { monitorOfPaused, openPaused } from './paused-machine.ts'

/** Commands that are sent to a guest. `guest-fsfreeze-status` may answer `unknown`: libvirt does not tell. */
export type GuestCommand =
  'guest-fsfreeze-freeze' | 'guest-fsfreeze-freeze-list' | 'guest-fsfreeze-thaw' | 'guest-fsfreeze-status'

/** One conversation with a guest; after a time limit it is closed, unless a command keeps it open. */
export interface GuestSession {
  execute(command: GuestCommand, options?: GuestCommandOptions): Promise<unknown>
  /** Waits until the guest has finished earlier commands, whether it answers them or not; false when it has not. */
  resync(timeoutMs: number): Promise<boolean>
  close(): void
}

export interface GuestOptions {
  /** The path of the guest agent's socket, or an address as `libvirtGuest` or `pausedMachine` writes it. */
  readonly guestAgent: string
  readonly timeoutMs?: number
  /** Closes the session when it aborts. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Begins a conversation within `timeoutMs`; GUEST_AGENT_UNAVAILABLE when no agent answers in the guest. While no libvirt runs, a
 * guest of libvirt is asked itself: it must not stay frozen until somebody starts that.
 */
export const openGuest = async ({ guestAgent, ...options }: GuestOptions): Promise<GuestSession> => {
  const monitor = monitorOfPaused(guestAgent)
  if (monitor !== null) return await openPaused(monitor, options)
  if (!isLibvirtGuest(guestAgent)) return await GuestChannel.open({ socketPath: guestAgent, ...options })
  try {
    return await LibvirtGuest.open({ address: guestAgent, ...options })
  } catch (error) {
    const socketPath = socketBesideLibvirt(guestAgent, error)
    if (socketPath === null) throw error
    return await GuestChannel.open({ socketPath, ...options })
  }
}
