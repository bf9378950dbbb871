// The serve command: its configuration, the running gateway, reloading the certificate on SIGHUP, and a graceful end on SIGINT
// and SIGTERM.
import { readFile } from 'node:fs/promises'
import * as v from 'valibot'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { pause } from '../../protocol/host/within.ts'
import { parseToml } from '../../protocol/host/toml-file.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { pathProblem } from '../folder/new-folder.ts'
import { lacksOfRoom } from '../datastore/room-for-backups.ts'
import { Gateway, type GatewayOptions } from '../gateway.ts'
import { openLog, type Log } from '../../protocol/host/log.ts'
import { MEMORY_BYTES_MIN } from '../memory/limits.ts'
import { readCertificate, type Certificate, type CertificateFiles } from '../server/certificate.ts'
import { CertificateKeeper } from '../server/certificate-keeper.ts'
import { isLoopback, parseListen } from '../server/listen-address.ts'
import { makeFirst } from '../datastore/data-folder.ts'
import { DATA_DEFAULT } from './remote.ts'
import { print } from '../../protocol/host/output.ts'
import { metricsListenOf, otlpEndpointOf, readMetricsToken } from './metrics-options.ts'
import { bytesOf } from './options.ts'
import { upkeepOf } from './upkeep-options.ts'
import { limitsOf, type AtOnce } from './work-options.ts'

export const LISTEN_DEFAULT = '127.0.0.1:8470'
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const

/** The file that --config names; each key is also an option of the command, which wins. */
const fileSchema = v.strictObject({
  data: v.optional(v.string()),
  listen: v.optional(v.string()),
  tls_cert: v.optional(v.string()),
  tls_key: v.optional(v.string()),
  insecure: v.optional(v.boolean()),
  log_level: v.optional(v.picklist(LOG_LEVELS)),
  reserve: v.optional(v.string()),
  memory: v.optional(v.string()),
  metrics_token_file: v.optional(v.string()),
  metrics_listen: v.optional(v.string()),
  otlp_endpoint: v.optional(v.string()),
  notify_private: v.optional(v.boolean()),
  upkeep: v.optional(v.boolean()),
  quiet_hours: v.optional(v.string()),
  verify_rate: v.optional(v.string()),
  backups_at_once: v.optional(v.number()),
  backups_at_once_per_host: v.optional(v.number()),
  backups_at_once_per_tenant: v.optional(v.number()),
})

export interface ServeOptions extends AtOnce {
  readonly data?: string
  readonly listen?: string
  readonly tlsCert?: string
  readonly tlsKey?: string
  readonly insecure?: boolean
  readonly logLevel?: string
  readonly reserve?: string
  readonly memory?: string
  readonly metricsTokenFile?: string
  readonly metricsListen?: string
  readonly otlpEndpoint?: string
  readonly notifyPrivate?: boolean
  /** False where it was said so. */
  readonly upkeep?: boolean
  readonly quietHours?: string
  readonly verifyRate?: string
  readonly config?: string
}

/** Why a configuration cannot be read. */
const UNREADABLE: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'there is no such file',
  EACCES: 'this user may not read it',
  EISDIR: 'it is a folder',
}

const readConfig = async (file: string | undefined): Promise<v.InferOutput<typeof fileSchema>> => {
  if (file === undefined) return {}
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    throw new VarveError('CONFIG_INVALID', `cannot read ${file}: ${UNREADABLE[code] ?? message}`, { cause: error })
  }
  return parseToml(file, text, fileSchema)
}

/** Bytes of `--reserve`; null for the default. */
export const parseReserve = (text: string | undefined): number | null => {
  try {
    return text === undefined ? null : bytesOf(text)
  } catch (error) {
    throw new VarveError('CONFIG_INVALID', `reserve: ${(error as Error).message}`, { cause: error })
  }
}

/** Bytes of `--memory`; null for the default. */
export const parseMemory = (text: string | undefined): number | null => {
  if (text === undefined) return null
  try {
    const bytes = bytesOf(text)
    if (bytes >= MEMORY_BYTES_MIN) return bytes
  } catch (error) {
    throw new VarveError('CONFIG_INVALID', `memory: ${(error as Error).message}`, { cause: error })
  }
  throw new VarveError('CONFIG_INVALID', `memory: at least ${MEMORY_BYTES_MIN / 2 ** 20}M are needed, got "${text}"`)
}

/** Keeps the certificate that of its files while the gateway runs; null without one. */
const keeperOf = (
  files: CertificateFiles | null,
  served: Certificate | null,
  gateway: Gateway,
  log: Log,
): CertificateKeeper | null => {
  if (files === null || served === null) return null
  const serve = (certificate: Certificate): void => gateway.setCertificate(certificate)
  return new CertificateKeeper({ files, served, serve, clock: systemClock, log })
}

/** How long a start waits for a command that has opened the data folder for itself, and how often it looks, in milliseconds. */
const LOCKED_WAIT_MS = 10_000
const LOOK_INTERVAL_MS = 100

/**
 * Opens the gateway; a command may have opened the data folder just before, as where one follows the start of the service
 * at once: it gives the folder up as soon as it has ended. STORE_LOCKED where it is still in use then, or on a signal.
 */
const opened = async (options: GatewayOptions, stop: AbortSignal): Promise<Gateway> => {
  const lastMs = systemClock.elapsed() + LOCKED_WAIT_MS
  for (let waits = false; ; waits = true) {
    try {
      return await Gateway.open(options)
    } catch (thrown) {
      if (asVarveError(thrown).code !== 'STORE_LOCKED' || stop.aborted || systemClock.elapsed() >= lastMs) throw thrown
    }
    if (!waits)
      options.log.info({ folder: options.folder }, 'the data folder is in use: waits for the command that uses it')
    await pause(LOOK_INTERVAL_MS, stop)
  }
}

/** Runs a gateway until SIGINT or SIGTERM, with the certificate read again on SIGHUP; resolves when everything is closed. */
export const serve = async (options: ServeOptions): Promise<void> => {
  const file = await readConfig(options.config)
  const folder = options.data ?? file.data ?? DATA_DEFAULT
  const problem = pathProblem(folder)
  if (problem !== null) throw new VarveError('CONFIG_INVALID', problem)
  const { host, port } = parseListen(options.listen ?? file.listen ?? LISTEN_DEFAULT, LISTEN_DEFAULT)
  const certFile = options.tlsCert ?? file.tls_cert
  const keyFile = options.tlsKey ?? file.tls_key
  if ((certFile === undefined) !== (keyFile === undefined))
    throw new VarveError('CONFIG_INVALID', 'TLS needs both --tls-cert and --tls-key')
  const files = certFile === undefined || keyFile === undefined ? null : { cert: certFile, key: keyFile }
  const tls = files === null ? null : await readCertificate(files)
  if (tls === null && !isLoopback(host) && !(options.insecure ?? file.insecure ?? false))
    throw new VarveError(
      'CONFIG_INVALID',
      `${host} is not loopback: give --tls-cert and --tls-key, or --insecure to let tokens and data cross the network in the clear`,
    )
  const reserveBytes = parseReserve(options.reserve ?? file.reserve)
  const memoryBytes = parseMemory(options.memory ?? file.memory)
  const metricsToken = await readMetricsToken(options.metricsTokenFile ?? file.metrics_token_file)
  const metricsListen = metricsListenOf(options.metricsListen ?? file.metrics_listen)
  const isInsecure = options.insecure ?? file.insecure ?? false
  const otlpEndpoint = otlpEndpointOf(options.otlpEndpoint ?? file.otlp_endpoint, isInsecure)
  const upkeep = upkeepOf({
    upkeep: options.upkeep === false ? false : file.upkeep,
    quietHours: options.quietHours ?? file.quiet_hours,
    verifyRate: options.verifyRate ?? file.verify_rate,
  })
  await makeFirst(folder)
  const lacks = await lacksOfRoom(folder, reserveBytes)
  const log = openLog({ level: options.logLevel ?? file.log_level ?? 'info' })
  const stop = new AbortController()
  const ended = new Promise<string>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () => {
        stop.abort()
        resolve(signal)
      })
  })
  // the certificate was just read; the signal must not end a gateway that is starting
  let keeper: CertificateKeeper | null = null
  process.on('SIGHUP', () => {
    log.info({ signal: 'SIGHUP' }, 'reads the certificate again; options and the configuration file need a restart')
    void keeper?.reload()
  })
  const listen = { host, port, tls }
  const metrics = { metricsToken, metricsListen, otlpEndpoint }
  const sizes = { reserveBytes, memoryBytes }
  const limits = limitsOf({
    backupsAtOnce: options.backupsAtOnce ?? file.backups_at_once,
    backupsAtOncePerHost: options.backupsAtOncePerHost ?? file.backups_at_once_per_host,
    backupsAtOncePerTenant: options.backupsAtOncePerTenant ?? file.backups_at_once_per_tenant,
  })
  const itself = { notifyPrivate: options.notifyPrivate ?? file.notify_private ?? false, upkeep, works: true, limits }
  const wanted: GatewayOptions = { folder, listen, log, clock: systemClock, ...sizes, ...metrics, ...itself }
  await using gateway = await opened(wanted, stop.signal)
  using kept = keeperOf(files, tls, gateway, log)
  keeper = kept
  for (const lack of lacks) log.warn({ lack }, 'the disk of the gateway has too little room')
  print(gateway.url)
  const reason = await Promise.race([ended, gateway.lost])
  if (reason instanceof VarveError) {
    log.error({ err: reason }, 'gateway stops')
    throw reason
  }
  log.info({ signal: reason }, 'gateway stops')
}
