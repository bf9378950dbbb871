// How the disks of a machine come to the agent.

/** It reads what QEMU exports, or QEMU's own backup job writes to it. */
export const MODES = ['pull', 'push'] as const
export type Mode = (typeof MODES)[number]
