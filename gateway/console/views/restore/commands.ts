// The commands that get a point back at a host: each way, as it can be pasted into a shell there. Pure.
import { shellCommand } from '../../parts/shell.ts'

/** Where a person without an agent keeps the token; the shell makes the home folder of it. */
const TOKEN_FILE = '~/.varve-token'

/** Where an export listens. */
const SOCKET = '/run/varve-export.sock'

export interface Wanted {
  /** The point's whole id. */
  readonly point: string
  readonly machine: string
  /** Each with the place where it goes. */
  readonly disks: readonly { readonly disk: string; readonly to: string }[]
  /** The folder for a whole machine. */
  readonly folder: string
  /** The gateway's address for who has a token and no agent; null for the host of an agent. */
  readonly gateway: string | null
}

/** The ways that there are at a host. */
export interface Commands {
  readonly whole: string
  readonly disks: string
  readonly onto: string
  readonly instant: string
  readonly export: string
  /** Uses of what the export serves, each in another shell. */
  readonly exported: string
  readonly drill: string
}

const lines = (texts: readonly string[]): string => texts.join('\n')

/** The address of a disk that an export serves, as QEMU and libnbd take it. */
export const nbdUri = (disk: string): string =>
  `nbd+unix:///${encodeURIComponent(disk.toWellFormed())}?socket=${SOCKET}`

export const commandsOf = ({ point, machine, disks, folder, gateway }: Wanted): Commands => {
  const token = gateway === null ? '' : ` ${shellCommand('--gateway', gateway)} --token-file ${TOKEN_FILE}`
  const agent = (...words: readonly string[]): string => `${shellCommand('varve-agent', ...words)}${token}`
  const first = disks[0]?.disk ?? ''
  return {
    whole: agent('restore', point, '--to', folder, '--define'),
    disks: lines(disks.map(({ disk, to }) => agent('restore', point, '--disk', disk, '--to', to))),
    onto: lines(disks.map(({ disk, to }) => agent('restore', point, '--disk', disk, '--onto', to))),
    instant: agent('instant', point, '--to', folder),
    export: agent('export', point, '--socket', SOCKET),
    exported: lines([
      shellCommand('nbdinfo', nbdUri(first)),
      shellCommand('qemu-img', 'convert', '-O', 'qcow2', nbdUri(first), `/var/tmp/${machine}.qcow2`),
    ]),
    drill: agent('drill', point),
  }
}
