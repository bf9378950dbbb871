// The state of a running agent for people, a line each.
import { utcText } from '../../protocol/host/instant.ts'
import { sizeText } from '../../protocol/host/size.ts'
import type { AgentStatus } from './agent-status.ts'

type Lease = AgentStatus['leases'][number]

const linkLine = ({ connected, sinceMs, reconnects, lastError }: AgentStatus['link']): string => {
  const since = sinceMs === null ? '' : ` since ${utcText(sinceMs)} UTC`
  const again = reconnects === 0 ? '' : `; came back ${reconnects} ${reconnects === 1 ? 'time' : 'times'}`
  const why =
    lastError === null ? '' : `; last error, ${utcText(lastError.timeMs)} UTC: ${lastError.message} (${lastError.code})`
  return `Link: ${connected ? 'connected' : 'away'}${since}${again}${why}.`
}

const leaseLine = ({
  machine,
  job,
  target,
  expiresMs,
  running,
  sinceMs,
  step,
  bytesRead,
  bytesSent,
  scratch,
}: Lease): string => {
  const used = scratch === null ? '' : `; scratch ${sizeText(scratch.usedBytes)} of ${sizeText(scratch.limitBytes)}`
  if (running && target !== null)
    return `Lease: ${machine}, ${job}, held by target ${target}${expiresMs === null ? '' : `, until ${utcText(expiresMs)} UTC unless it is renewed`}${used}.`
  if (!running) return `Left to be settled: the lease of ${machine}, job ${job}${used}.`
  const since = sinceMs === null ? '' : ` since ${utcText(sinceMs)} UTC`
  const moved = `${sizeText(bytesRead)} read, ${sizeText(bytesSent)} sent`
  return `Backup: ${machine}, job ${job}${since}${step === null ? '' : `, ${step}`}; ${moved}${used}.`
}

export const agentLines = ({
  version,
  pid,
  startedMs,
  link,
  leases,
  scratch,
  traffic,
  backups,
}: AgentStatus): string[] => [
  `Agent ${version}, process ${pid}, since ${utcText(startedMs)} UTC: ${backups.committed} backups done, ${backups.failed} failed.`,
  linkLine(link),
  `Rates: ${sizeText(traffic.readBytesPerSecond)}/s read, ${sizeText(traffic.sentBytesPerSecond)}/s sent.`,
  ...(scratch === null
    ? []
    : [
        `Scratch: ${sizeText(scratch.freeBytes)} free at ${scratch.folder}, reserve ${sizeText(scratch.reserveBytes)}.`,
      ]),
  ...leases.map(leaseLine),
]
