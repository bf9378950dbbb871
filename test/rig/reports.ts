// What the test guest said on its console, and which files that promises to be on its disks at a given time.

/** One line of the guest's workload, with the time at which it was read here (never before it was written). */
export interface GuestReport {
  readonly sequence: number
  readonly disk: string
  readonly verb: 'wrote' | 'voids' | 'removed'
  readonly name: string
  readonly sizeBytes: number
  readonly sha256: string
  readonly receivedMs: number
}

export interface PromisedFile {
  readonly name: string
  readonly sizeBytes: number
  readonly sha256: string
}

/** The files of one disk that must be there, and the names that must not. */
export interface Promised {
  readonly present: readonly PromisedFile[]
  readonly absent: readonly string[]
}

const REPORT = /^REPORT (\d+) (\w+) (?:(wrote) (\S+) (\d+) ([0-9a-f]{64})|(voids|removed) (\S+))$/

/** One console line as a report; undefined for any other line. */
export const parseReport = (line: string, receivedMs: number): GuestReport | undefined => {
  const match = REPORT.exec(line)
  if (match === null) return undefined
  const [, sequence, disk = '', wrote, wroteName, sizeBytes, sha256, other, otherName] = match
  return {
    sequence: Number(sequence),
    disk,
    verb: wrote === undefined ? (other as 'voids' | 'removed') : 'wrote',
    name: wroteName ?? otherName ?? '',
    sizeBytes: Number(sizeBytes ?? 0),
    sha256: sha256 ?? '',
    receivedMs,
  }
}

/**
 * What the guest's reports promise of one disk at `instantMs`. What was taken back before `settledMs`, a time at which
 * the instant had surely passed, is left out: the guest may have gone on to it before the instant or after.
 */
export const promisedAt = (
  reports: readonly GuestReport[],
  disk: string,
  instantMs: number,
  settledMs: number,
): Promised => {
  const present = new Map<string, PromisedFile>()
  const absent = new Set<string>()
  for (const report of reports) {
    if (report.disk !== disk || report.receivedMs >= settledMs) continue
    if (report.verb === 'voids') present.delete(report.name)
    if (report.receivedMs >= instantMs) continue
    if (report.verb === 'wrote') present.set(report.name, report)
    if (report.verb === 'removed') absent.add(report.name)
  }
  return { present: [...present.values()], absent: [...absent] }
}

/** Throws where a report is missing, so that no promise goes unchecked because its line was damaged. */
export const assertComplete = (reports: readonly GuestReport[]): void => {
  const gap = reports.findIndex((report, index) => report.sequence !== index + 1)
  if (gap >= 0) throw new Error(`the guest's report ${gap + 1} is missing from its console`)
}
