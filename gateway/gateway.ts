// A whole gateway: datastore, identities, sessions, jobs and the port, opened in order and closed in reverse.
import path from 'node:path'
import { VarveError } from '../protocol/errors.ts'
import type { Clock } from '../protocol/peer.ts'
import { Audit } from './auth/audit.ts'
import { openAuthority } from './auth/authority.ts'
import { LockWatch } from './folder/lock-watch.ts'
import { Datastore } from './datastore/datastore.ts'
import { Events } from './events/events.ts'
import { Forecasts } from './freshness/forecasts.ts'
import { MachineStates } from './freshness/machine-states.ts'
import { Freshness } from './freshness/state-watch.ts'
import { Watch } from './freshness/watch.ts'
import { looksOf } from './freshness/watch-looks.ts'
import { Sightings } from './freshness/watch-sightings.ts'
import { StartMark } from './freshness/watch-start.ts'
import { accessError } from './folder/owner.ts'
import { storeError } from './common/store-error.ts'
import { Backups } from './jobs/backups.ts'
import { Restores } from './jobs/restores.ts'
import type { Log } from '../protocol/host/log.ts'
import { StateKeeper } from './maintenance/keep-state.ts'
import { Readiness } from './metrics/health.ts'
import { Observation } from './metrics/observation.ts'
import { Maintenance } from './maintenance/maintenance.ts'
import { MemoryBudget } from './memory/budget.ts'
import { MEMORY_BYTES_DEFAULT } from './memory/limits.ts'
import { upkeepOf, type UpkeepWishes } from './scheduler/upkeep.ts'
import { LIMITS_DEFAULT } from './scheduler/limits.ts'
import { Scheduler } from './scheduler/scheduler.ts'
import type { JobLimits } from './catalog/jobs.ts'
import { NoticeDesk } from './notify/desk.ts'
import { Notifier } from './notify/notifier.ts'
import { ownAuthority, type Certificate } from './server/certificate.ts'
import { Console, CONSOLE_FOLDER } from './server/console.ts'
import { HttpServer, type HttpParts, type Listen } from './server/http.ts'
import { LocalServer } from './server/local.ts'
import { Monitoring, MonitoringServer, type MetricsListen } from './server/monitoring.ts'
import { Presence } from './service/presence.ts'
import { watchRevocations } from './service/revocations.ts'
import { serviceOf } from './service/service.ts'
import type { SessionParts } from './session/connection.ts'
import { Registry } from './session/registry.ts'

export interface GatewayOptions {
  readonly folder: string
  /** Null for a gateway that only the commands beside it can reach. */
  readonly listen: Listen | null
  readonly log: Log
  readonly clock: Clock
  /** Disk space that uploads leave free, in bytes; null for the default. */
  readonly reserveBytes?: number | null
  /** Memory for callers' work, in bytes; null for the default. */
  readonly memoryBytes?: number | null
  /** Whoever knows it reads the metrics on the port; null, the default, for nobody. */
  readonly metricsToken?: string | null
  /** Address of a collector of traces, by OTLP over HTTP; null, the default, for none. */
  readonly otlpEndpoint?: string | null
  /** A loopback address where the metrics are served to everybody; null, the default, for none. */
  readonly metricsListen?: MetricsListen | null
  /** Lets tenants' notifications go to addresses of this host and of private networks; off by default. */
  readonly notifyPrivate?: boolean
  /** Where the built console is; null for the program's own. */
  readonly consoleFolder?: string | null
  /** Opens even when signing keys are lost; tokens they signed become invalid. */
  readonly acceptLostKeys?: boolean
  /** It works by itself: starts what plans say, watches, tells. Off by default: for `serve` alone. */
  readonly works?: boolean
  /** How it keeps its datastore where it works by itself. */
  readonly upkeep?: UpkeepWishes
  /** How many backups it starts at once; absent for the default. */
  readonly limits?: JobLimits
}

export class Gateway implements AsyncDisposable {
  /** Of the port, or `unix:` and the path of the local socket where there is none. */
  readonly url: string
  /** Where the metrics have a listener of their own; null without. */
  readonly metricsUrl: string | null
  /** Resolves with the reason when the gateway must stop because its lock or catalog was removed or replaced. */
  readonly lost: Promise<VarveError>
  readonly #port: HttpServer | null
  readonly #registry: Registry
  readonly #resources: AsyncDisposableStack

  private constructor(parts: {
    readonly url: string
    readonly metricsUrl: string | null
    readonly lost: Promise<VarveError>
    readonly port: HttpServer | null
    readonly registry: Registry
    readonly resources: AsyncDisposableStack
  }) {
    this.url = parts.url
    this.metricsUrl = parts.metricsUrl
    this.lost = parts.lost
    this.#port = parts.port
    this.#registry = parts.registry
    this.#resources = parts.resources
  }

  /** Opens the data folder and listens; STORE_LOCKED, STORE_VERSION, STORE_FAILED, CONFIG_INVALID. */
  static async open(options: GatewayOptions): Promise<Gateway> {
    const { folder, log, clock } = options
    await using resources = new AsyncDisposableStack()
    const datastore = resources.use(await openDatastore(options))
    const { lost } = resources.use(
      new LockWatch({ lock: datastore.lock, catalog: datastore.spec.catalogFile, clock, log }),
    )
    const { catalog } = datastore
    const { acceptLostKeys = false } = options
    const opened = openAuthority({ folder, catalog, nowMs: clock.now(), acceptLostKeys })
    const authority = await opened.catch((thrown: unknown) => {
      throw accessError(thrown, folder)
    })
    const audit = resources.use(
      new Audit({
        catalog,
        onError: (error, entry) => log.error({ err: error, entry }, 'the audit log cannot be written'),
      }),
    )
    const events = resources.use(new Events({ catalog, clock, log }))
    const { works = false } = options
    const mark = works ? resources.use(await StartMark.set({ catalog, events, clock, log })) : null
    const presence = resources.use(new Presence({ events, agents: catalog.agents, clock, log }))
    const registry = new Registry(clock, presence)
    const states = new MachineStates({ catalog, online: (agent) => registry.online(agent), clock })
    const freshness = resources.use(new Freshness({ catalog, events, states, clock, log }))
    const observation = resources.use(
      await Observation.open({
        watched: () => freshness.watched(),
        ...observed(options),
        catalog,
        space: datastore.space,
        sessions: registry,
        events,
      }),
    )
    const backups = new Backups({ datastore, agents: registry, clock, log, events })
    const restores = new Restores({ catalog, agents: registry, events, clock, log })
    await restores.abandon()
    const maintenance = resources.use(new Maintenance({ datastore, clock, log }))
    await maintenance.attributeKnown()
    resources.use(new StateKeeper({ datastore, clock, log }))
    const { notifyPrivate: anywhere = false } = options
    const desk = await NoticeDesk.open({ folder: path.join(folder, 'keys'), catalog, clock, anywhere })
    const memory = new MemoryBudget(options.memoryBytes ?? MEMORY_BYTES_DEFAULT)
    const shown: { by: HttpServer | null } = { by: null }
    const certificate = (): Uint8Array | null => shown.by?.certificate ?? null
    const service = serviceOf({
      address: () => shown.by?.page ?? null,
      folder,
      datastore,
      authority,
      audit,
      sessions: registry,
      backups,
      restores,
      maintenance,
      events,
      states,
      steps: observation.steps,
      desk,
      agentsCa: () => ownAuthority(certificate()),
      clock,
      log,
    })
    const parts: SessionParts = { ...service, registry, memory, clock, log }
    resources.defer(() => backups.uploads.settled())
    const local = resources.use(await datastore.ballast.catalogs.drawing(0, () => LocalServer.listen(parts, folder)))
    const readiness = new Readiness({ datastore, lost, clock })
    const monitoring = new Monitoring({ metrics: observation.metrics, readiness, token: options.metricsToken ?? null })
    const port = (shown.by = resources.use(await openPort(options, { session: parts, monitoring })))
    const metrics = resources.use(await openMetrics(options, monitoring))
    // before the connections end, so that it says why
    resources.use(restores)
    resources.defer(watchRevocations({ catalog, sessions: registry, clock, log }))
    resources.defer(datastore.space.watch(clock))
    resources.defer(datastore.ballast.watch(clock))
    if (mark !== null) {
      freshness.start()
      const looks = looksAt({ datastore, registry, backups, certificate, clock })
      resources.use(new Watch({ catalog, events, looks, clock, log, recordedMs: mark.recordedMs }))
      const uses = { catalog, backups, agents: registry, events, audit, clock, log }
      workBy(options, resources, { ...uses, datastore, maintenance, desk })
    }
    const { url } = port ?? local
    const metricsUrl = metrics?.url ?? null
    log.info({ url, folder, metricsUrl }, 'gateway listens')
    return new Gateway({ url, metricsUrl, lost, port, registry, resources: resources.move() })
  }

  /** Serves another certificate from the next connection on. */
  setCertificate(certificate: Certificate): void {
    this.#port?.setCertificate(certificate)
  }

  /** Sessions that are open. */
  get sessionCount(): number {
    return this.#registry.count
  }

  /** Ends every session with its reason, waits for commits under way and closes the datastore. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync()
  }
}

/** What the watcher looks at. */
const looksAt = (seen: {
  readonly datastore: Datastore
  readonly registry: Registry
  readonly backups: Backups
  readonly certificate: () => Uint8Array | null
  readonly clock: Clock
}): ReturnType<typeof looksOf> => {
  const { datastore, registry, backups, certificate, clock } = seen
  const { catalog, space } = datastore
  return looksOf({
    catalog,
    space,
    forecasts: new Forecasts({ catalog, space, clock }),
    online: (agent) => registry.online(agent),
    sightings: new Sightings(),
    skewsOf: (agents) => backups.skews.of(agents),
    certificate,
  })
}

/** What is measured, and for whom. */
const observed = ({ metricsToken, metricsListen, otlpEndpoint, clock, log }: GatewayOptions) => ({
  metrics: (metricsToken ?? metricsListen ?? null) !== null,
  otlpEndpoint: otlpEndpoint ?? null,
  clock,
  log,
})

/** The port, with the console on it; null where the gateway has none. */
const openPort = async (options: GatewayOptions, parts: Omit<HttpParts, 'console'>): Promise<HttpServer | null> => {
  const { listen, consoleFolder, log } = options
  if (listen === null) return null
  const console = await Console.open({ folder: consoleFolder ?? CONSOLE_FOLDER, log })
  return await HttpServer.listen({ ...parts, console }, listen)
}

/** The listener of its own for metrics; null where there is none. */
const openMetrics = async ({ metricsListen = null }: GatewayOptions, monitoring: Monitoring) =>
  metricsListen === null ? null : await MonitoringServer.listen(monitoring, metricsListen)

interface Working {
  readonly datastore: Datastore
  readonly maintenance: Maintenance
  readonly catalog: Datastore['catalog']
  readonly backups: Backups
  readonly agents: Registry
  readonly events: Events
  readonly audit: Audit
  readonly desk: NoticeDesk
  readonly clock: Clock
  readonly log: Log
}

/** Starts what works by itself: backups by plans, upkeep, and messages. */
const workBy = (options: GatewayOptions, resources: AsyncDisposableStack, working: Working): void => {
  const { datastore, maintenance, desk, ...rest } = working
  const { catalog, events, clock, log } = rest
  const uses = { ...rest, limits: options.limits ?? LIMITS_DEFAULT }
  resources.use(new Scheduler({ ...uses, ...upkeepOf({ ...uses, datastore, maintenance }, options.upkeep) }))
  const { outward, deadMan, fault } = desk
  if (fault !== null) log.warn({ err: fault }, 'notifications lack their key')
  const listen = (listener: () => void): (() => void) => events.listen(listener)
  resources.use(new Notifier({ catalog, listen, outward, deadMan, clock, log }))
}

const openDatastore = async ({ folder, log, clock, reserveBytes = null }: GatewayOptions): Promise<Datastore> => {
  try {
    return await Datastore.open({ folder, log, nowMs: () => clock.now(), reserveBytes })
  } catch (thrown) {
    const error = storeError(accessError(thrown, folder), 'opening it')
    if (error.code !== 'STORE_FAILED' || error.message.includes(folder)) throw error
    throw new VarveError(error.code, `the data folder ${folder}: ${error.message}`, { cause: error })
  }
}
