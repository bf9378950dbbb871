// What to do about a backup that failed, by the code of its error; the error's own message where that says it already.
import { isErrorCode, type ErrorCode } from '../../protocol/errors.ts'
import type { JobFailure } from '../catalog/jobs.ts'

const WAYS_OUT: Partial<Readonly<Record<ErrorCode, string>>> = {
  QUOTA_EXCEEDED: 'remove restore points or raise the quota of the tenant',
  STORE_FULL: 'make room on the disk of the data folder, or run store collect',
  STORE_FAILED: "look at the gateway's log: its data folder cannot be written or read",
  DATA_DAMAGED: 'the next backup reads it again and heals it; if it fails again, run store verify',
  FULL_REFUSED: 'the plan refuses this full read: allow it once with backup --full, or in the plan',
  DISK_LEFT_OUT: 'the plan refuses to leave this disk out: change the disk, or the plan',
  FREEZE_REQUIRED: 'the plan requires a frozen guest: start the guest agent in the machine, or change the plan',
  GUEST_AGENT_UNAVAILABLE: 'start the guest agent in the machine',
  GUEST_AGENT_ERROR: "look at the guest agent's log in the machine",
  FREEZE_TIMEOUT: 'the guest could not be frozen in time: look at what writes in it at that hour',
  SCRATCH_LOW: "make room in the agent's scratch folder, or let the backup run when the machine writes less",
  QMP_UNAVAILABLE: "the machine's QEMU does not answer on its host: varve-agent discover shows why",
  QMP_FORBIDDEN: "allow the command in the agent's configuration",
  LIBVIRT_UNAVAILABLE: 'libvirt does not answer on the host: is it running?',
  LEASE_LOST: 'the agent or the machine was restarted during the backup; if it goes on, look at the log of the agent',
  LEASE_HELD: 'another backup program holds the machine: end its job, or exclude the machine here',
  DISK_IN_USE: 'another process uses the disk of a machine that is off: end it, or start the machine',
  NBD_SERVER_BUSY: 'another program uses the NBD server of QEMU: end its job',
  DISK_UNSUPPORTED: "leave the disk out in the agent's configuration",
  MACHINE_OFF: 'start the machine, or let it be read while it is off',
  AGENT_OFFLINE: 'start varve-agent on the host',
  CONNECTION_LOST: 'look at the network between the host and the gateway',
  TOOL_MISSING: 'install the tool on the host',
}

/** A failure as one sentence with the way out of it. */
export const failureText = ({ code, message }: JobFailure): string => {
  const way = isErrorCode(code) ? WAYS_OUT[code] : undefined
  return `${message} (${code})${way === undefined ? '' : `; ${way}`}`
}
