// Serves the disks of one folder until they stand alone, whoever began it: a process of its own.
//
//   arguments         the folder
//   standard output   "ready" once reads are served, or "failed CODE " and why it has ended
//   socket `control`  a line, "status", "hurry" or "end"; the answer is its state as JSON
import { rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import type { Point } from '../../protocol/schemas.ts'
import { readConfig, type AgentConfig } from '../config.ts'
import { openDisks, type OpenedDisks } from '../export/open-disks.ts'
import { ExportServer } from '../export/server.ts'
import { Identity } from '../identity.ts'
import { GatewayLink, isBreak } from '../session/link.ts'
import { connect } from '../session/once.ts'
import { lockState } from '../state-lock.ts'
import type { ControlOrder, InstantState } from './control.ts'
import { Filler } from './filler.ts'
import { findRecord, InstantList, placesIn, writeRecord, type InstantRecord, type Places } from './record.ts'

/** How often the machine is looked at, in milliseconds. */
const LOOK_MS = 500

/** How often what a guest has written is noted, in milliseconds. */
const NOTE_MS = 5_000

/** How often it is asked whether the point stays, in milliseconds. */
const KEPT_MS = 60_000

/** How long a machine may keep its connection to an export that it needs no more, in milliseconds. */
const CLIENTS_LIMIT_MS = 10_000

class Serving {
  readonly #places: Places
  readonly #filler: Filler
  readonly #stop = new AbortController()
  #record: InstantRecord
  #away: string | null = 'not connected yet'
  #isServing = false
  #clients = 0
  #receivedBytes = 0
  #kept: InstantState['kept'] = 'unknown'
  /** Of the last look at the machine, and of the last read that failed since the gateway came back. */
  #problem: string | null = null
  #failedRead: string | null = null

  constructor(places: Places, record: InstantRecord) {
    this.#places = places
    this.#record = record
    const { disks, speed } = record
    this.#filler = new Filler({ qmp: places.qmp, disks, speed, canServe: () => this.#isServing && this.#away === null })
  }

  get state(): InstantState {
    return {
      pid: process.pid,
      serving: this.#isServing,
      away: this.#away,
      machine: this.#filler.state,
      receivedBytes: this.#receivedBytes,
      kept: this.#kept,
      problem: this.#problem ?? this.#failedRead,
      disks: this.#filler.disks.map((filling, index) => {
        const { name, size } = this.#record.disks[index]!
        return { name, size, ...filling }
      }),
    }
  }

  obey(order: ControlOrder): void {
    if (order === 'hurry') this.#filler.hurry()
    if (order === 'end') this.#stop.abort(new VarveError('CANCELLED', 'the export was ended'))
  }

  /** Resolves once the disks stand alone, or it was told to end. */
  async run(config: AgentConfig): Promise<void> {
    using _ = this.#filler
    const identity = await Identity.load(config.state)
    await using link = new GatewayLink({
      connect: async () => (await connect(config, identity, { serving: false, handlers: {} })).peer,
      assertion: () => identity.assertion(systemClock.now()),
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
    await Promise.race([this.#serve(link), ended()])
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
    this.#isServing = true
    process.stdout.write('ready\n')
    const asking = setInterval(() => void this.#askKept(link), KEPT_MS)
    try {
      await this.#bringIn(signal)
    } finally {
      clearInterval(asking)
    }
  }

  /** Whether the point stays: an agent cannot hold it, and a removed one is there only while it is being read. */
  async #askKept(link: GatewayLink): Promise<void> {
    if (this.#away !== null) return
    try {
      this.#noteKept((await link.call('points.get', { point: this.#record.point }, this.#stop.signal, KEPT_MS)).point)
    } catch (thrown) {
      if (asVarveError(thrown).code === 'NOT_FOUND') this.#kept = 'removed'
    }
  }

  #noteKept({ held, lockedUntilMs }: Pick<Point, 'held' | 'lockedUntilMs'>): void {
    this.#kept = held || (lockedUntilMs ?? 0) > Date.now() ? 'kept' : 'prunable'
  }

  /** Until the disks stand alone, or it is told to end. */
  async #bringIn(signal: AbortSignal): Promise<void> {
    await this.#note({ problem: null })
    let notedMs = performance.now()
    while (!this.#filler.isDone && !signal.aborted) {
      await this.#filler.tick().then(
        () => void (this.#problem = null),
        (thrown: unknown) => void (this.#problem = asVarveError(thrown).message),
      )
      const isNews = this.#filler.disks.some(({ alone }, index) => alone !== this.#record.disks[index]!.alone)
      if (isNews || this.#filler.hasRun !== this.#record.hasRun || performance.now() - notedMs > NOTE_MS) {
        await this.#note({})
        notedMs = performance.now()
      }
      if (!this.#filler.isDone) await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined)
    }
    if (!this.#filler.isDone) return
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
        const { point } = await link.call('points.get', { point: id }, signal)
        this.#noteKept(point)
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
      const { alone, writtenBytes } = this.#filler.disks[index]!
      return { ...disk, alone, writtenBytes }
    })
    this.#record = { ...this.#record, disks, hasRun: this.#record.hasRun || this.#filler.hasRun, ...change }
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
const leave = async (places: Places, { id }: InstantRecord, config: AgentConfig): Promise<void> => {
  await rm(places.record)
  await InstantList.in(config.state).remove(id)
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
    const config = await readConfig(record.config)
    await serving.run(config)
    if (serving.state.disks.every(({ alone }) => alone)) await leave(places, record, config)
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
