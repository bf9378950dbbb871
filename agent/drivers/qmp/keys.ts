// The keys of a [[machine]] that this driver is given.

import path from 'node:path'
import * as v from 'valibot'
import { absolutePath, socketPath } from '../../socket-path.ts'
import type { Machine } from '../driver.ts'
import { disksKey } from '../offline/keys.ts'
import { MODES, type Mode } from './modes.ts'

/** `on`: read through the copy job's own filter; `off`: through an overlay; `auto`: as suits the QEMU and the disk. */
export const FLEECINGS = ['auto', 'on', 'off'] as const
export type Fleecing = (typeof FLEECINGS)[number]

export const keys = {
  /** The machine's QMP socket, for the agent alone. */
  qmp: socketPath,
  guest_agent: v.optional(socketPath),
  /** How old blocks are kept and read while a backup runs. */
  fleecing: v.optional(v.picklist(FLEECINGS)),
  /** How its disks come to the agent. */
  mode: v.optional(v.picklist(MODES)),
  /** What the machine is read from while it is off. */
  disks: v.optional(disksKey),
  /** The folder in which swtpm keeps the machine's TPM. */
  tpm_state: v.optional(absolutePath),
}

const keysSchema = v.object(keys)

/** The path of a machine's QMP socket. */
export const qmpPathOf = ({ keys: own }: Pick<Machine, 'keys'>): string => v.parse(keysSchema, own).qmp

/** How its disks come to the agent. */
export const modeOf = ({ keys: own }: Pick<Machine, 'keys'>): Mode => v.parse(keysSchema, own).mode ?? 'pull'

/** The path of its guest agent's socket; null where it has none. */
export const guestAgentOf = ({ keys: own }: Pick<Machine, 'keys'>): string | null =>
  v.parse(keysSchema, own).guest_agent ?? null

/** The folder of its TPM's state; null where none is named. */
export const tpmStateOf = ({ keys: own }: Pick<Machine, 'keys'>): string | null =>
  v.parse(keysSchema, own).tpm_state ?? null

/** How its old blocks are kept. */
export const fleecingOf = ({ keys: own }: Pick<Machine, 'keys'>): Fleecing =>
  v.parse(keysSchema, own).fleecing ?? 'auto'

export const addressOf = (own: Machine['keys']): string => path.normalize(qmpPathOf({ keys: own }))

/** The keys by which the driver `offline` reads the machine while it is off; null where its disks are not known. */
export const offlineKeysOf = ({ keys: own }: Pick<Machine, 'keys'>): Machine['keys'] | null => {
  const { disks } = v.parse(keysSchema, own)
  return disks === undefined ? null : { disks }
}
