// Collects what was measured, round by round, and says each result as it comes.
import { measure, type Command, type Measurement, type Watched } from './measure.ts'
import { touchFreeMemory } from './memory.ts'

/** The operations in the order of the table; the peers' stand behind ours of the same kind. */
export const OPERATIONS = {
  'varve-full': 'Varve: first full backup',
  zstd: 'zstd -1 -T2 of the raw image',
  'qemu-img': 'qemu-img convert to qcow2 with zstd, -m 8',
  'restic-first': 'restic: first backup',
  'sid-restic-first': 'restic of Debian sid: first backup',
  'borg-first': 'borg: first create (zstd 1, fixed 4 MiB)',
  'piped-restic-first': 'the newest restic behind nbdcopy from QEMU: first backup',
  'piped-borg-first': 'borg behind nbdcopy from QEMU: first create',
  'varve-reread': 'Varve: full re-read, nothing new',
  'nbdcopy-null': 'nbdcopy from QEMU to null',
  'restic-again': 'restic: again, every byte read',
  'sid-restic-again': 'restic of Debian sid: again, every byte read',
  'borg-again': 'borg: again, every byte read',
  'piped-restic-again': 'the newest restic behind nbdcopy from QEMU: again',
  'piped-borg-again': 'borg behind nbdcopy from QEMU: again',
  'varve-incremental-1000': 'Varve: incremental after 1,000 random 4 KiB writes',
  'nbdsh-1000': 'nbdsh: reads the same dirty clusters (1,000)',
  'varve-incremental-10000': 'Varve: incremental after 10,000 random 4 KiB writes',
  'nbdsh-10000': 'nbdsh: reads the same dirty clusters (10,000)',
  'varve-restore': 'Varve: restore to raw',
  'nbdcopy-raw': 'nbdcopy from QEMU to a raw file',
  'zstd-decompress': 'zstd -d to a raw file',
  'restic-restore': 'restic: restore',
  'sid-restic-restore': 'restic of Debian sid: restore',
  'borg-restore': 'borg: extract',
  'tls-full': 'Varve over TLS: first full backup',
  'tls-reread': 'Varve over TLS: full re-read, nothing new',
  'tls-incremental-10000': 'Varve over TLS: incremental after 10,000 random 4 KiB writes',
  'tls-restore': 'Varve over TLS: restore to raw',
} as const

export type OperationId = keyof typeof OPERATIONS

/** Numbers that an operation told about itself, such as bytes sent. */
export type Figures = Readonly<Record<string, number>>

export interface Sample<Id extends string = OperationId> extends Omit<Measurement, 'output'> {
  readonly operation: Id
  readonly round: number
  readonly figures: Figures
}

export interface RecorderOptions<Id extends string> {
  readonly titles: Readonly<Record<Id, string>>
  /** The file system of this folder is synced within each time. */
  readonly syncFolder: string
  /** So much free memory is made ready before each operation, where there is so much. */
  readonly readyBytes: number
  readonly signal: AbortSignal
  say(line: string): void
}

export class Recorder<Id extends string = OperationId> {
  readonly samples: Sample<Id>[] = []
  readonly #options: RecorderOptions<Id>
  #round = 0

  constructor(options: RecorderOptions<Id>) {
    this.#options = options
  }

  /** The round that runs, from 1 on. */
  get round(): number {
    return this.#round
  }

  beginRound(): void {
    this.#round += 1
  }

  /** Measures one operation and gives the command's output. */
  async time(operation: Id, command: Command, watched: readonly Watched[] = []): Promise<string> {
    const { titles, syncFolder, readyBytes, signal, say } = this.#options
    await touchFreeMemory(syncFolder, readyBytes, signal)
    const { output, ...measured } = await measure(command, { watched, syncFolder, signal })
    this.samples.push({ operation, round: this.#round, ...measured, figures: {} })
    say(`round ${this.#round}  ${measured.seconds.toFixed(2).padStart(7)} s  ${titles[operation]}`)
    return output
  }

  /** Adds figures to the operation that was measured last. */
  note(figures: Figures): void {
    const last = this.samples.pop()
    if (last === undefined) throw new Error('nothing was measured yet')
    this.samples.push({ ...last, figures: { ...last.figures, ...figures } })
  }
}
