// What happens at failpoints in a life: counts them, notes what became durable, and makes the planned faults; one state for
// all threads of the life.
import { appendFileSync, copyFileSync, existsSync, linkSync, mkdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { getEnvironmentData, setEnvironmentData } from 'node:worker_threads'
import { CATALOG_NAME } from '../../gateway/folder/layout.ts'
import { armFailpoints, FAILPOINTS, type FailpointName } from '../../gateway/common/failpoint.ts'
import { storeError } from '../../gateway/common/store-error.ts'
import type { Fact, Fault, LifePlan } from './plan.ts'

const KEY = 'varve model life'

/**
 * Cells of the shared state: one that nobody ever wakes, whether faults may come, and since then passes of all writes and
 * of each failpoint; transactions from the beginning.
 */
const CELL = { never: 0, armed: 1, writes: 2, transactions: 3, first: 4 } as const
const CELLS_BYTES = (CELL.first + FAILPOINTS.length) * Int32Array.BYTES_PER_ELEMENT

/** Failpoints at which nothing is written any more, or nothing yet. */
const NOT_WRITES: ReadonlySet<FailpointName> = new Set([
  'pack.read',
  'pack.synced',
  'pack.created',
  'pack.removed',
  'transaction.after',
  'mark',
])

type ControlPlan = Pick<LifePlan, 'folder' | 'journal' | 'aside' | 'faults' | 'copy'>

interface Shared {
  readonly plan: ControlPlan
  readonly cells: Int32Array
}

export class Control {
  readonly #plan: ControlPlan
  readonly #cells: Int32Array
  /** Length of a file when its sync began. */
  readonly #syncing = new Map<string, number>()

  private constructor({ plan, cells }: Shared) {
    this.#plan = plan
    this.#cells = cells
  }

  static #of(shared: Shared): Control {
    const control = new Control(shared)
    armFailpoints((name, subject) => control.#pass(name, subject))
    return control
  }

  /** For the main thread; threads that it starts from now on find the same state. */
  static begin({ folder, journal, aside, faults, copy }: LifePlan): Control {
    const cells = new Int32Array(new SharedArrayBuffer(CELLS_BYTES))
    const shared: Shared = { plan: { folder, journal, aside, faults, copy }, cells }
    setEnvironmentData(KEY, shared)
    return Control.#of(shared)
  }

  /** For a thread that a life started; nothing where there is no life. */
  static join(): void {
    const shared = getEnvironmentData(KEY) as Shared | undefined
    if (shared !== undefined) Control.#of(shared)
  }

  /** Lets faults come from now on. */
  arm(): void {
    Atomics.store(this.#cells, CELL.armed, 1)
  }

  say(fact: Fact): void {
    appendFileSync(this.#plan.journal, `${JSON.stringify(fact)}\n`)
  }

  /** Ends the process at once, whichever thread this is. */
  die(): never {
    process.kill(process.pid, 'SIGKILL')
    for (;;) Atomics.wait(this.#cells, CELL.never, 0)
  }

  #pass(name: FailpointName, subject: string): void {
    this.#follow(name, subject)
    if (Atomics.load(this.#cells, CELL.armed) === 0) return
    const pass = Atomics.add(this.#cells, CELL.first + FAILPOINTS.indexOf(name), 1)
    const write = NOT_WRITES.has(name) ? -1 : Atomics.add(this.#cells, CELL.writes, 1)
    for (const fault of this.#plan.faults) {
      const at = fault.at === name ? pass : fault.at === 'writes' ? write : -1
      if (at >= fault.hit && at < fault.hit + fault.times) this.#make(fault, name)
    }
  }

  /** Notes which bytes of packs survive a loss of power, and keeps what is removed until that does. */
  #follow(name: FailpointName, file: string): void {
    if (name === 'pack.sync') this.#syncing.set(file, statSync(file).size)
    else if (name === 'pack.synced') this.say({ fact: 'synced', file, bytes: this.#syncing.get(file)! })
    else if (name === 'pack.created') this.say({ fact: 'synced', file, bytes: statSync(file).size })
    else if (name === 'pack.removed') this.say({ fact: 'removed', file })
    else if (name === 'pack.remove') this.#keep(file)
    else if (name === 'transaction.before') this.#copy()
  }

  #keep(file: string): void {
    const aside = path.join(this.#plan.aside, path.basename(file))
    try {
      linkSync(file, aside)
    } catch {
      // it was never made, or its removal is tried again
      return
    }
    this.say({ fact: 'removing', file, aside })
  }

  /**
   * Copies the catalog, if it is time: nobody else writes while a transaction is about to end, and what it wrote does not
   * count yet.
   */
  #copy(): void {
    const { folder, copy } = this.#plan
    if (copy === null || Atomics.add(this.#cells, CELL.transactions, 1) !== copy.after) return
    mkdirSync(copy.into)
    for (const name of [CATALOG_NAME, `${CATALOG_NAME}-wal`])
      if (existsSync(path.join(folder, name))) copyFileSync(path.join(folder, name), path.join(copy.into, name))
  }

  #make(fault: Fault, at: FailpointName): void {
    this.say({ fact: 'fault', fault, at })
    const { action } = fault
    if (action === 'die') this.die()
    const error = Object.assign(new Error(`${action}: made by a test at ${at}`), { code: action, syscall: 'write' })
    // elsewhere what fails is a call of the store, which says so in its own words
    throw at.startsWith('pack.') || at.startsWith('transaction.') ? error : storeError(error, at)
  }
}
