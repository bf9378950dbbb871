// Detects that a machine has been gone for so long that no process needs to wait for its guest.

import { pause } from '../../protocol/host/within.ts'
import { createConnection } from 'node:net'
import { isLibvirtGuest, isLibvirtGuestAway } from './libvirt-guest.ts'
import { monitorOfPaused } from './paused-machine.ts'

/**
 * How long nothing may listen on any of a machine's sockets until a waiting process ends, in milliseconds. The note of
 * the freeze stays: the agent keeps checking, as a guest that was saved and restored comes back frozen.
 */
export const MACHINE_GONE_MS = 600_000

/** How often the sockets are tried, and how long one try may take, in milliseconds. */
const LOOK_MS = 5_000
const CONNECT_LIMIT_MS = 2_000

/** Whether nothing listens on a unix socket: its file is gone, or nobody has it open. */
const isSocketAway = (socketPath: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = createConnection({ path: socketPath })
    const settle = (away: boolean): void => {
      socket.destroy()
      resolve(away)
    }
    socket.setTimeout(CONNECT_LIMIT_MS, () => settle(false))
    socket.on('connect', () => settle(false))
    socket.on('error', (error: NodeJS.ErrnoException) =>
      settle(error.code === 'ENOENT' || error.code === 'ECONNREFUSED'),
    )
  })

/** The same, also of a libvirt domain's guest that does not run. */
export const isAway = (address: string): Promise<boolean> => {
  const where = monitorOfPaused(address) ?? address
  return isLibvirtGuest(where) ? isLibvirtGuestAway(where, isSocketAway) : isSocketAway(where)
}

/** Resolves once all the sockets have been gone for `goneMs` without interruption. */
export const machineGone = async (
  sockets: readonly string[],
  signal: AbortSignal,
  goneMs: number = MACHINE_GONE_MS,
): Promise<void> => {
  let awaySinceMs: number | null = null
  while (!signal.aborted) {
    let away = true
    // the monitor serves one client, so it is not touched while the guest's socket is there
    for (const path of sockets) away &&= await isAway(path)
    awaySinceMs = away ? (awaySinceMs ?? performance.now()) : null
    if (awaySinceMs !== null && performance.now() - awaySinceMs >= goneMs) return
    await pause(Math.min(LOOK_MS, goneMs), signal)
  }
}
