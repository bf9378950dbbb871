// A lease on a machine that runs: the hypervisor copies old blocks to scratch space, and its connection may break and come back.

import { VarveError } from '../../protocol/errors.ts'
import type { ScratchUse } from '../../protocol/schemas.ts'
import { pause } from '../../protocol/host/within.ts'
import type { DriverHost, LeaseOutcome } from './driver.ts'
import { LeaseFrame, type FramedEntry } from './lease-frame.ts'
import type { ScratchGuard } from './scratch-guard.ts'
import { lookAtUse, watchScratch } from './scratch-watch.ts'
import type { ScratchHost } from './scratch.ts'

/** Pause between two attempts to reconnect, in milliseconds. */
const RECONNECT_PAUSE_MS = 200

export interface CopyingEntry extends FramedEntry {
  readonly scratchFolder: string
}

export interface CopyingLeaseParts<Entry, Host> {
  readonly host: Host
  readonly entry: Entry
  readonly guard: ScratchGuard
  /** Called once when the lease's machine is free again or only the journal knows of it. */
  readonly onEnd: () => void
}

/** What a driver's connection to its hypervisor is to its leases. */
export interface LeaseCaller {
  /** Resolves when the connection has ended. */
  readonly closed: Promise<VarveError>
}

type CopyingHost<Entry> = Pick<DriverHost, 'reserveBytes' | 'log'> &
  Pick<ScratchHost, 'freeBytes'> & { readonly watchLeft: (entry: Entry) => void }

/** How a driver speaks of its hypervisor, and how long it waits for a broken connection, in milliseconds. */
export interface Hypervisor {
  readonly reconnectMs: number
  /** Code of the error of a connection that is broken. */
  readonly unavailable: string
  /** Clauses for an error: `its QEMU has ended`, `QEMU no longer answers`. */
  readonly ended: string
  readonly silent: string
}

/** `start` begins its work, once the driver's part is there. */
export abstract class CopyingLease<
  Entry extends CopyingEntry,
  Caller extends LeaseCaller,
  Host extends CopyingHost<Entry>,
> extends LeaseFrame<Entry> {
  protected readonly host: Host
  readonly #hypervisor: Hypervisor
  readonly #guard: ScratchGuard
  readonly #onEnd: () => void
  readonly #stopping = new AbortController()
  #caller: Caller | null = null
  #unsubscribe: () => void = () => undefined

  constructor({ host, entry, guard, onEnd }: CopyingLeaseParts<Entry, Host>, hypervisor: Hypervisor) {
    super(entry)
    this.host = host
    this.#hypervisor = hypervisor
    this.#guard = guard
    this.#onEnd = onEnd
  }

  protected abstract connect(): Promise<Caller>

  /** Why the lease does not hold; null when it does. */
  protected abstract look(caller: Caller, cause?: unknown): Promise<VarveError | null>

  /** Loses the lease by what the hypervisor says from now on; returns a function that unsubscribes. */
  protected abstract subscribe(caller: Caller): () => void

  /** Ends the copying at once, as guest writes are at risk; true where the guest had stopped and was resumed. */
  protected abstract stopCopying(caller: Caller): Promise<boolean>

  protected abstract remove(outcome: LeaseOutcome): Promise<void>

  /** Whether an error says that the machine has ended. */
  protected abstract isGone(error: unknown): boolean

  /** Aborts when the lease ends or is lost. */
  protected get stopping(): AbortSignal {
    return this.#stopping.signal
  }

  /** Records what became known at the instant. */
  complete(entry: Entry): void {
    this.entry = entry
  }

  /** Stops watching a lease that could not begin; what it made is removed by the caller. */
  abandon(): void {
    this.leaveAsItIs()
    this.#stop()
    this.#guard.done()
  }

  override scratch(): Promise<ScratchUse | null> {
    const { reserveBytes, freeBytes } = this.host
    return lookAtUse({ folder: this.entry.scratchFolder, reserveBytes, freeBytes })
  }

  protected start(caller: Caller): void {
    this.#follow(caller)
    void this.#watch()
    void this.#guard.lost.then((error) => this.giveUp(error))
  }

  protected override onLost(): void {
    this.#stopping.abort()
  }

  protected override async finish(outcome: LeaseOutcome): Promise<void> {
    this.#stop()
    try {
      await this.remove(outcome)
      this.#guard.done()
    } catch (error) {
      this.#guard.done()
      // a guard is useless once the machine is gone, but not while its hypervisor merely does not answer
      if (!this.isGone(error)) this.host.watchLeft(this.entry)
      throw error
    } finally {
      this.#onEnd()
    }
  }

  /** Reconnects if the connection broke. */
  protected override async problem(): Promise<VarveError | null> {
    try {
      return await this.look(this.#caller ?? (await this.connect()))
    } catch (error) {
      if (!(error instanceof VarveError) || error.code !== this.#hypervisor.unavailable) throw error
      return await this.look(await this.connect())
    }
  }

  #stop(): void {
    this.#stopping.abort()
    this.#unsubscribe()
  }

  #follow(caller: Caller): void {
    this.#unsubscribe()
    this.#caller = caller
    this.#unsubscribe = this.subscribe(caller)
    void caller.closed.then((error) => this.#recover(error))
  }

  /** Reconnects; the lease continues when all of it is still there. */
  async #recover(cause: VarveError): Promise<void> {
    const { reconnectMs, ended, silent } = this.#hypervisor
    const deadlineMs = performance.now() + reconnectMs
    const { signal } = this.#stopping
    while (!signal.aborted) {
      try {
        const caller = await this.connect()
        const why = await this.look(caller, cause)
        if (signal.aborted) return
        if (why === null) this.#follow(caller)
        else this.lose(why)
        return
      } catch (error) {
        if (this.isGone(error) || performance.now() > deadlineMs) {
          this.lose(this.lostBy(this.isGone(error) ? ended : silent, error))
          return
        }
        await pause(RECONNECT_PAUSE_MS, signal)
      }
    }
  }

  async #watch(): Promise<void> {
    const { reserveBytes, freeBytes } = this.host
    const { signal } = this.#stopping
    const low = await watchScratch({ folder: this.entry.scratchFolder, reserveBytes, freeBytes, signal })
    if (low === null) return
    this.#guard.acting()
    await this.giveUp(low)
  }

  /** First marks the lease as lost, so that later reads are not trusted. */
  protected async giveUp(why: VarveError): Promise<void> {
    if (this.isEnding) return
    this.lose(why)
    const about = { lease: this.id, machine: this.entry.machine.name }
    try {
      if (await this.stopCopying(this.#caller ?? (await this.connect())))
        this.host.log.warn(about, 'the guest had stopped because the scratch space was full; it was resumed')
    } catch (error) {
      this.host.log.warn({ ...about, err: error }, 'the backup could not be ended in the hypervisor at once')
    }
  }
}
