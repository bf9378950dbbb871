// Serves the disks of one folder until they stand alone, whoever began it: a process of its own.
//
//   arguments         the folder
//   standard output   "ready" once reads are served, or "failed CODE " and why it has ended
//   socket `control`  a line, "status", "hurry", "end" or "give up"; the answer is its state as JSON
import { chown, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import type { Caller } from '../commands/caller.ts'
import { openDisks, type OpenedDisks } from '../export/open-disks.ts'
import { ExportServer } from '../export/server.ts'
import { GatewayLink, isBreak } from '../session/link.ts'
import { lockState } from '../state-lock.ts'
import { callerOf, stateFolderOf } from './caller.ts'
import type { ControlOrder, InstantState } from './control.ts'
import { DomainFiller } from './domain-filler.ts'
import { defineStanding } from './domain.ts'
import { Filler } from './filler.ts'
import { FilledDisk, type DiskFiller } from './filling.ts'
import { PointUse } from './point-use.ts'
import { removeRecord } from './remove-record.ts'
import { findRecord, InstantList, placesIn, writeRecord, type InstantRecord, type Places } from './record.ts'

/** How often the machine is looked at, in milliseconds. */
const LOOK_MS = 500

/** How often what a guest has written is noted, in milliseconds. */
const NOTE_MS = 5_000

/** How often it is seen to that the point stays, in milliseconds. */
const KEPT_MS = 60_000

/** How long a machine may keep its connection to an export that it needs no more, in milliseconds. */
const CLIENTS_LIMIT_MS = 10_000

class Serving {
  readonly #places: Places
  readonly #disks: readonly FilledDisk[]
  readonly #filler: DiskFiller
  readonly #stop = new AbortController()
  #record: InstantRecord
  #away: string | null = 'not connected yet'
  #isServing = false
  #clients = 0
  #receivedBytes = 0
  readonly #use: PointUse
  /** Nobody will need the point any more. */
  #givesUp = false
  /** Of the last look at the machine, and of the last read that failed since the gateway came back. */
  #problem: string | null = null
  #failedRead: string | null = null

  constructor(places: Places, record: InstantRecord) {
    this.#places = places
    this.#record = record
    const { id: use, point, domain, speed, keptUntilMs: untilMs } = record
    this.#use = new PointUse({ use, point, untilMs })
    const disks = record.disks.map((disk) => new FilledDisk(disk))
    this.#disks = disks
    const canServe = (): boolean => this.#isServing && this.#away === null
    const options = { qmp: places.qmp, disks, speed, canServe }
    this.#filler = domain === null ? new Filler(options) : new DomainFiller({ ...options, domain, mark: places.mark })
  }

  get state(): InstantState {
    return {
      pid: process.pid,
      serving: this.#isServing,
      away: this.#away,
      machine: this.#filler.state,
      receivedBytes: this.#receivedBytes,
      kept: this.#use.kept,
      keptUntilMs: this.#use.untilMs,
      problem: this.#problem ?? this.#failedRead,
      disks: this.#disks.map(({ of: { name, size }, filling }) => ({ name, size, ...filling })),
    }
  }

  get isDone(): boolean {
    return this.#disks.every(({ alone }) => alone)
  }

  obey(order: ControlOrder): void {
    if (order === 'hurry') this.#filler.hurry()
    this.#givesUp ||= order === 'give up'
    if (order === 'end' || order === 'give up') this.#stop.abort(new VarveError('CANCELLED', 'the export was ended'))
  }

  /** Resolves once the disks stand alone, or it was told to end. */
  async run(caller: Caller): Promise<void> {
    using _ = this.#filler
    await using link = new GatewayLink({
      connect: () => caller.dial(),
      assertion: caller.assertion,
      isFatal: (error) => caller.isFatal(error),
      onOpen: async () => {},
      onState: (state) => {
        this.#away = state.up ? null : state.error.message
        if (state.up) this.#failedRead = null
      },
      clock: systemClock,
      random: Math.random,
    })
    const ended = async (): Promise<void> => {
      const error = await link.ended()
      if (!this.#stop.signal.aborted) throw error
    }
    try {
      await Promise.race([this.#serve(link), ended()])
    } finally {
      if ((this.#givesUp || this.isDone) && this.#away === null) await this.#use.end(link)
    }
  }

  async #serve(link: GatewayLink): Promise<void> {
    const { signal } = this.#stop
    await using opened = await this.#opened(link)
    await using _ = await ExportServer.open({
      listen: { socket: this.#places.nbd },
      // Without maps: beside a stream job, a guest's read whose map cannot be told ends well in QEMU 7.2, with nothing read
      // (copy-on-read.c takes a failed look at what is allocated for the end of the backing file).
      exports: opened.disks.map((disk) => ({ ...disk, contexts: [] })),
      onFailure: ({ disk, error: { message } }) => void (this.#failedRead = `disk ${disk}: ${message}`),
      onServed: () => {},
      onClients: (clients) => void (this.#clients = clients),
    })
    const { domain } = this.#record
    const owner = domain?.owner ?? null
    if (owner !== null) await chown(this.#places.nbd, owner.uid, owner.gid)
    this.#isServing = true
    process.stdout.write('ready\n')
    const asking = setInterval(() => void this.#keepPoint(link), KEPT_MS)
    try {
      await this.#bringIn(signal)
    } finally {
      clearInterval(asking)
    }
  }

  /** A gateway that is away is asked again after the next interval. */
  async #keepPoint(link: GatewayLink): Promise<void> {
    if (this.#away === null) await this.#use.keep(link, this.#stop.signal).catch(() => undefined)
  }

  /** Until the disks stand alone, or it is told to end. */
  async #bringIn(signal: AbortSignal): Promise<void> {
    await this.#note({ problem: null })
    let notedMs = performance.now()
    while (!this.isDone && !signal.aborted) {
      await this.#filler.tick().then(
        () => void (this.#problem = null),
        (thrown: unknown) => void (this.#problem = asVarveError(thrown).message),
      )
      const isNews = this.#disks.some(({ alone }, index) => alone !== this.#record.disks[index]!.alone)
      if (isNews || this.#filler.hasRun !== this.#record.hasRun || performance.now() - notedMs > NOTE_MS) {
        await this.#note({})
        notedMs = performance.now()
      }
      if (!this.isDone) await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined)
    }
    if (!this.isDone) return
    await this.#note({})
    const deadlineMs = performance.now() + CLIENTS_LIMIT_MS
    while (this.#clients > 0 && performance.now() < deadlineMs) await sleep(LOOK_MS)
  }

  /** The disks, however long the gateway is away; another error ends it. */
  async #opened(link: GatewayLink): Promise<OpenedDisks> {
    const { point: id, disks, reconnectMs, cacheBytes } = this.#record
    const { signal } = this.#stop
    for (;;) {
      try {
        const point = await this.#use.keep(link, signal)
        if (point === null) throw new VarveError('NOT_FOUND', `restore point ${id} is not there any more`)
        const wanted = disks.flatMap(({ name, size }) =>
          point.disks.filter((disk) => disk.name === name && disk.size === size),
        )
        if (wanted.length !== disks.length)
          throw new VarveError('NOT_FOUND', `restore point ${id} has other disks than those that were begun with`)
        const onReceived = (bytes: number): void => void (this.#receivedBytes += bytes)
        return await openDisks({
          link,
          signal,
          point,
          disks: wanted,
          since: null,
          reconnectMs,
          cacheBytes,
          onReceived,
          onCacheFailure: () => {},
        })
      } catch (thrown) {
        if (signal.aborted || !isBreak(asVarveError(thrown))) throw thrown
      }
    }
  }

  /** Notes how far it is; a file system that is full, as guests may make it, stops nothing. */
  async #note(change: Partial<InstantRecord>): Promise<void> {
    const disks = this.#record.disks.map((disk, index) => {
      const { alone, writtenBytes } = this.#disks[index]!.filling
      return { ...disk, alone, writtenBytes }
    })
    const { untilMs: keptUntilMs } = this.#use
    const hasRun = this.#record.hasRun || this.#filler.hasRun
    this.#record = { ...this.#record, disks, hasRun, keptUntilMs, ...change }
    await writeRecord(this.#places, this.#record).catch((thrown: unknown) => {
      this.#problem = `how far it is cannot be noted: ${asVarveError(thrown).message}`
    })
  }
}

const listen = async (places: Places, serving: Serving): Promise<Server> => {
  await rm(places.control, { force: true })
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    createInterface({ input: socket }).once('line', (line) => {
      serving.obey(line as ControlOrder)
      socket.end(`${JSON.stringify(serving.state)}\n`)
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(places.control, resolve)
  })
  return server
}

/** Nothing of it is needed any more. */
const leave = async (places: Places, { id, way, domain }: InstantRecord): Promise<void> => {
  if (domain === null) await removeRecord(places)
  else {
    await defineStanding(places, domain)
    await rm(places.record)
  }
  await InstantList.in(await stateFolderOf(way)).remove(id)
  await rm(places.private, { recursive: true, force: true })
}

const main = async (folder: string): Promise<void> => {
  const places = placesIn(folder)
  const record = await findRecord(places)
  if (record === null) throw new VarveError('NOT_FOUND', `nothing in ${folder} runs from the gateway`)
  await using _ = await lockState(places.private)
  const serving = new Serving(places, record)
  const server = await listen(places, serving)
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => serving.obey('end'))
  try {
    const wasDone = serving.isDone
    if (!wasDone) await serving.run(await callerOf(record.way))
    if (serving.isDone) await leave(places, record)
    if (wasDone) process.stdout.write('ready\n')
  } catch (thrown) {
    const { code, message } = asVarveError(thrown)
    if (code === 'CANCELLED') return
    const current = await findRecord(places).catch(() => null)
    if (current !== null) await writeRecord(places, { ...current, problem: message }).catch(() => undefined)
    throw thrown
  } finally {
    server.close()
  }
}

process.umask(0o077)
process.stdout.on('error', () => undefined)
try {
  await main(process.argv[2] ?? '')
} catch (thrown) {
  const { code, message } = asVarveError(thrown)
  process.stdout.write(`failed ${code} ${message.replaceAll('\n', ' ')}\n`)
  process.exitCode = 1
}
process.exit()
