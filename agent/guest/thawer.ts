// Makes sure that every noted freeze is undone: by its freezer process while that works, else by the agent itself.

import { spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { guardEnvironment } from '../guard-environment.ts'
import { pause, within } from '../../protocol/host/within.ts'
import { endProcess, processState } from '../process-mark.ts'
import type { FreezeNote, FreezeNotes } from './freeze-notes.ts'
import { openGuest } from './guest.ts'
import { monitorOfPaused } from './paused-machine.ts'
import { thawVerified, type OpenGuest } from './thaw.ts'

/** How often the notes are checked, in milliseconds. */
export const THAWER_LOOK_MS = 1_000

/** Pause between two tries to remove the note of a guest that is thawed, in milliseconds. */
const REMOVE_RETRY_MS = 5_000

/** Pause between two looks at a note that is waited for, in milliseconds. */
const WAIT_LOOK_MS = 50

/** The thawer's log; pino fits. */
export interface ThawerLog {
  info(details: object, message: string): void
  warn(details: object, message: string): void
}

export interface ThawerOptions {
  readonly notes: FreezeNotes
  readonly log: ThawerLog
}

/** Whether a separate process is at work on the freeze. A stopped one is not, and holds the guest's socket. */
const isGuarded = ({ freezer }: FreezeNote): boolean => freezer !== null && processState(freezer) === 'running'

/** One for each agent process; needs neither gateway nor QMP. */
export class Thawer implements AsyncDisposable {
  readonly notes: FreezeNotes
  readonly #log: ThawerLog
  readonly #stopping = new AbortController()
  #lent: (address: string) => OpenGuest | null = () => null
  /** Freezes that this process undoes, by the ids of their notes. */
  readonly #undoing = new Map<string, Promise<void>>()
  #watching: Promise<void> | null = null
  /** The notes could not be read at the last check, which was reported. */
  #unreadable = false

  constructor({ notes, log }: ThawerOptions) {
    this.notes = notes
    this.#log = log
  }

  /** From now on, guests for which `lent` has another way in are asked by it: a monitor may serve only one connection. */
  lend(lent: (address: string) => OpenGuest | null): void {
    this.#lent = lent
  }

  /** From now on, undoes every noted freeze that no other process undoes. */
  start(): void {
    this.#watching ??= this.#watch()
  }

  /** Kills the freezer of a guest, if it still lives, and undoes its freeze here; resolves once undone or after `limitMs`. */
  async takeOver(isMeant: (note: FreezeNote) => boolean, limitMs: number): Promise<void> {
    const notes = (await this.#list()).filter(isMeant)
    for (const { freezer } of notes) if (freezer !== null) endProcess(freezer)
    const undoing = notes.map((note) => this.#undo(note))
    await within(Promise.all(undoing), limitMs)
  }

  /** Waits at most `limitMs` until no earlier freeze of the guest is left; false when one is. */
  async isClear(guestAgent: string, limitMs: number): Promise<boolean> {
    const deadlineMs = performance.now() + limitMs
    for (;;) {
      const note = await this.notes.of(guestAgent)
      if (note === null) return true
      this.#guard(note)
      if (performance.now() > deadlineMs) return false
      await sleep(WAIT_LOOK_MS)
    }
  }

  /** Stops; what is not undone by then is left to processes that outlive this one. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort()
    await this.#watching
    await Promise.all(this.#undoing.values())
    for (const note of await this.#list()) {
      if (isGuarded(note)) continue
      const program = fileURLToPath(new URL('./thaw-process.ts', import.meta.url))
      const args = [program, this.notes.folder, note.id]
      const child = spawn(process.execPath, args, { detached: true, stdio: 'ignore', env: guardEnvironment() })
      child.on('error', () => undefined)
      child.unref()
      this.#log.warn(
        { machine: note.machine, guestAgent: note.guestAgent },
        'a guest is still frozen; a separate process thaws it',
      )
    }
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      for (const note of await this.#list()) this.#guard(note)
      await pause(THAWER_LOOK_MS, signal)
    }
  }

  async #list(): Promise<readonly FreezeNote[]> {
    try {
      const notes = await this.notes.list()
      this.#unreadable = false
      return notes
    } catch (error) {
      if (!this.#unreadable)
        this.#log.warn({ folder: this.notes.folder, err: error }, 'the notes of freezes cannot be read')
      this.#unreadable = true
      return []
    }
  }

  /** Takes a freeze over unless its freezer is at work. */
  #guard(note: FreezeNote): void {
    if (this.#stopping.signal.aborted || this.#undoing.has(note.id) || isGuarded(note)) return
    if (note.freezer !== null) endProcess(note.freezer)
    void this.#undo(note)
  }

  #undo(note: FreezeNote): Promise<void> {
    const known = this.#undoing.get(note.id)
    if (known !== undefined) return known
    const undoing = this.#undoNow(note).finally(() => this.#undoing.delete(note.id))
    this.#undoing.set(note.id, undoing)
    return undoing
  }

  async #undoNow(note: FreezeNote): Promise<void> {
    const { machine, lease, guestAgent } = note
    const { signal } = this.#stopping
    let told = false
    const onRetry = (error: unknown): void => {
      if (!told)
        this.#log.warn({ machine, lease, guestAgent, err: error }, 'a frozen guest cannot be thawed yet; retrying')
      told = true
    }
    const wanted = (): Promise<boolean> => this.notes.holds(note)
    // looked up at each attempt: the driver may open after this has begun
    const open: OpenGuest = (options) => (this.#lent(guestAgent) ?? openGuest)(options)
    try {
      const count = await thawVerified({ guestAgent, open, wanted, signal, onRetry })
      const paused = monitorOfPaused(guestAgent) !== null
      if (count > 0 && paused) this.#log.warn({ machine, lease }, 'continued a machine that was left stopped')
      else if (count > 0) this.#log.warn({ machine, lease, guestAgent }, 'thawed a guest that was left frozen')
      else this.#log.info({ machine, lease, guestAgent }, 'a guest left to be thawed is no longer frozen')
      await this.#remove(note, signal)
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }

  async #remove(note: FreezeNote, signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        return await this.notes.remove(note)
      } catch (error) {
        this.#log.warn({ machine: note.machine, err: error }, 'the note of an undone freeze cannot be removed')
        await sleep(REMOVE_RETRY_MS, undefined, { signal })
      }
    }
  }
}
