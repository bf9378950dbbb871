// The manifest of a restore point: what the catalog's rows say of it, as a record in the packs from which it is found again.
import * as v from 'valibot'
import type { JobCommit, JobRow, UploadRow } from './jobs.ts'
import { attachmentBytes, attachmentName, attachments, missingAttachments } from '../../protocol/attachments.ts'
import { CONSISTENCIES, pointKind, READ_KINDS, READ_REASONS } from '../../protocol/backup.ts'
import { fromHex, hex } from '../../protocol/chunk.ts'
import { VarveError } from '../../protocol/errors.ts'
import { misfit } from '../../protocol/misfit.ts'
import {
  configuration,
  count,
  diskBytes,
  diskName,
  disks,
  evidence,
  leftOut,
  name,
  note,
  timeMs,
  took,
  uuid,
  type Took,
} from '../../protocol/schemas.ts'
import { keyedHash } from '../../protocol/host/keyed-hash.ts'

const MANIFEST_VERSION = 1

const hexId = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/u, 'not an id'))

const manifestSchema = v.object({
  version: v.literal(MANIFEST_VERSION),
  point: uuid,
  /** The tenant's uuid. */
  tenant: uuid,
  machine: name,
  agent: v.pipe(v.string(), v.minLength(1), v.maxLength(255)),
  base: v.nullable(uuid),
  timeMs,
  kind: v.picklist(READ_KINDS),
  reason: v.picklist(READ_REASONS),
  consistency: v.picklist(CONSISTENCIES),
  note,
  configuration,
  bytesRead: count,
  bytesSent: count,
  bytesStored: count,
  durationMs: count,
  /** Null where its agent told nothing. */
  took: v.nullable(took),
  committedMs: timeMs,
  lockedUntilMs: v.nullable(timeMs),
  /** Number of the newest state of the tenant that was taken before. */
  state: count,
  /** Place of its backup among the tenant's, in the order in which they started. */
  seq: count,
  job: v.object({ subject: v.string(), full: v.boolean(), compare: v.boolean(), startedMs: timeMs }),
  leftOut,
  /** False where no changes were recorded from its instant on. */
  checkpoint: v.boolean(),
  disks: disks(
    v.object({
      name: diskName,
      size: diskBytes,
      root: v.nullable(hexId),
      kind: v.picklist(READ_KINDS),
      reason: v.picklist(READ_REASONS),
      changed: count,
      evidence: v.nullable(evidence),
      comparedChunks: count,
    }),
  ),
  attachments: attachments(v.object({ name: attachmentName, size: attachmentBytes, root: v.nullable(hexId) })),
  missing: missingAttachments,
})
export type Manifest = v.InferOutput<typeof manifestSchema>

/** All of a manifest that its backup knows: the tenant's store adds the rest. */
export type ManifestContent = Omit<Manifest, 'version' | 'tenant' | 'state'>

/** The key of manifest ids: a domain of its own beside chunks, tree nodes and states. */
export const manifestKey = (idKey: Uint8Array): Uint8Array =>
  keyedHash(idKey, new TextEncoder().encode('varve restore point manifest v1'))

/** The JSON text in UTF-8, in which no byte is zero: no part of it can look like a record. */
export const encodeManifest = (manifest: Omit<Manifest, 'version'>): Uint8Array =>
  new TextEncoder().encode(JSON.stringify({ version: MANIFEST_VERSION, ...manifest }))

/** The manifest of these bytes, every value in its limits; DATA_DAMAGED, or STORE_VERSION where a later program wrote it. */
export const decodeManifest = (bytes: Uint8Array): Manifest => {
  const value = parseVersioned(bytes, MANIFEST_VERSION, 'a manifest')
  const checked = v.safeParse(manifestSchema, value)
  if (checked.success) return checked.output
  throw new VarveError('DATA_DAMAGED', `a manifest is malformed: ${misfit(manifestSchema, checked.issues)}`)
}

/** The JSON value of a record with a `version`. DATA_DAMAGED, STORE_VERSION. */
export const parseVersioned = (bytes: Uint8Array, known: number, what: string): object => {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new VarveError('DATA_DAMAGED', `${what} is not JSON`, { cause })
  }
  if (typeof value !== 'object' || value === null || !('version' in value) || typeof value.version !== 'number')
    throw new VarveError('DATA_DAMAGED', `${what} has no version`)
  if (value.version > known)
    throw new VarveError('STORE_VERSION', `${what} has version ${value.version}, this program knows up to ${known}`)
  return value
}

/** The manifest of a backup that is about to be committed; its figures are those of the catalog's row. */
export const manifestOf = (
  { job, uploads }: { readonly job: JobRow; readonly uploads: readonly UploadRow[] },
  commit: Pick<JobCommit, 'bytesRead' | 'took' | 'nowMs' | 'lockedUntilMs'>,
): ManifestContent => {
  const begun = job.begun!
  const disks = uploads.filter(({ attachment }) => !attachment)
  const sum = (pick: (upload: UploadRow) => number): number => uploads.reduce((total, one) => total + pick(one), 0)
  return {
    point: job.id,
    machine: job.machine,
    agent: job.agent,
    base: job.base,
    timeMs: begun.timeMs,
    ...pointKind(disks),
    consistency: begun.consistency,
    note: begun.note,
    configuration: begun.configuration,
    bytesRead: commit.bytesRead,
    bytesSent: sum(({ bytesSent }) => bytesSent),
    bytesStored: sum(({ bytesStored }) => bytesStored),
    durationMs: Math.max(0, commit.nowMs - job.startedMs),
    took: commit.took ?? null,
    committedMs: commit.nowMs,
    lockedUntilMs: commit.lockedUntilMs,
    seq: job.seq,
    job: { subject: job.subject, full: job.full, compare: job.compare, startedMs: job.startedMs },
    leftOut: [...begun.leftOut],
    checkpoint: begun.checkpoint,
    disks: disks.map(({ disk, size, root, kind, reason, changedBytes, evidence: seen, comparedChunks }) => ({
      name: disk,
      size,
      root: root && hex(root),
      kind,
      reason,
      changed: changedBytes,
      evidence: seen,
      comparedChunks,
    })),
    attachments: uploads
      .filter(({ attachment }) => attachment)
      .map(({ disk, size, root }) => ({ name: disk, size, root: root && hex(root) })),
    missing: [...begun.missing],
  }
}

/** What making a point took, in a column. */
export const tookText = (took: Took | null): string | null => (took === null ? null : JSON.stringify(took))

export const tookIn = (text: string | null): Took | null => (text === null ? null : (JSON.parse(text) as Took))

/** Root of a manifest's disk as the catalog has it. */
export const rootOf = (root: string | null): Uint8Array | null => (root === null ? null : fromHex(root))
