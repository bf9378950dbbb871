// The chunk index: which record of which pack holds an id of a tenant; ids travel packed, 32 bytes each.
import { ID_BYTES, type Codec } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { idAt } from '../../../protocol/host/bytes.ts'
import { RECORD, RECORD_HEADER_BYTES, type RecordType } from '../../packs/format.ts'
import { heal } from './damage.ts'
import { growPacks } from './packs.ts'
import { read, write } from './operation.ts'
import type { Sql } from './sql.ts'

/** Where a record is, and what it holds. */
export interface RecordLocation {
  /** The pack's uuid. */
  readonly pack: string
  readonly offset: number
  readonly storedLength: number
  readonly plainLength: number
  readonly codec: Codec
  readonly type: RecordType
}

/** A record to be indexed; its id is at the same index in the packed ids. */
export interface NewRecord {
  /** The pack's row id. */
  readonly pack: number
  readonly offset: number
  readonly storedLength: number
  readonly plainLength: number
  readonly codec: Codec
  readonly type: RecordType
}

/** How far an upload is. */
export interface UploadProgress {
  readonly job: string
  readonly disk: string
  /** Chunks placed so far. */
  readonly position: number
  /** The tree builder's state, encoded by the caller. */
  readonly state: Uint8Array
  /** Bytes received so far. */
  readonly received: number
  /** Chunks that differ from the base so far. */
  readonly changed: number
  readonly finished: boolean
  /** Root id of a finished image that is not all zero. */
  readonly root: Uint8Array | null
}

export interface ChunkCommit {
  readonly tenant: number
  /** Row id of the machine that sent the chunks, or null. */
  readonly machine: number | null
  readonly ids: Uint8Array
  readonly records: readonly NewRecord[]
  readonly packs: readonly { readonly id: number; readonly bytes: number; readonly sealed: boolean }[]
  /** The upload that the records belong to, whose stored bytes are counted. */
  readonly upload: { readonly job: string; readonly disk: string } | null
  readonly progress: Omit<UploadProgress, 'job' | 'disk'> | null
}

/** What a chunk is to a machine: absent, first added by another machine, first added by this one, or there with another length than it must have. */
export const HAVE = { absent: 0, other: 1, own: 2, misfit: 3 } as const

const idCount = (ids: Uint8Array): number => Math.floor(ids.length / ID_BYTES)

const INSERT = `INSERT OR IGNORE INTO chunk (tenant, id, type, pack, offset, stored, plain, codec, machine)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`

const insertRecords = (sql: Sql, commit: ChunkCommit): number => {
  let storedBytes = 0
  const healed: Uint8Array[] = []
  for (const [index, record] of commit.records.entries()) {
    const { type, pack, offset, storedLength, plainLength, codec } = record
    const machine = type === RECORD.chunk ? commit.machine : null
    const id = idAt(commit.ids, index)
    const added = sql.run(INSERT, commit.tenant, id, type, pack, offset, storedLength, plainLength, codec, machine)
    if (added === 0) continue
    storedBytes += RECORD_HEADER_BYTES + storedLength
    healed.push(id)
  }
  heal(sql, commit.tenant, healed)
  return storedBytes
}

const updateUpload = (sql: Sql, { upload, progress }: ChunkCommit, storedBytes: number): void => {
  if (upload === null) return
  sql.run('UPDATE upload SET stored = stored + ? WHERE job = ? AND disk = ?', storedBytes, upload.job, upload.disk)
  if (progress === null) return
  const rows = sql.run(
    `UPDATE upload SET position = ?, state = ?, received = ?, changed = ?, finished = ?, root = ?
     WHERE job = ? AND disk = ?`,
    progress.position,
    progress.state,
    progress.received,
    progress.changed,
    progress.finished ? 1 : 0,
    progress.root,
    upload.job,
    upload.disk,
  )
  if (rows === 0) throw new VarveError('JOB_ENDED', 'the upload is no longer there')
}

/** Records that are already synced to their packs, with the packs' lengths and the upload's progress; returns the bytes newly stored. JOB_ENDED. */
export const commitRecords = (sql: Sql, commit: ChunkCommit): number => {
  growPacks(sql, commit.packs)
  const storedBytes = insertRecords(sql, commit)
  updateUpload(sql, commit, storedBytes)
  return storedBytes
}

export const chunkOperations = {
  /** One byte of HAVE per id; `lengths` are the plain lengths that the chunks must have, in bytes, where they are known. */
  'chunks.have': read(
    (
      sql: Sql,
      args: { tenant: number; machine: number; ids: Uint8Array; lengths?: readonly number[] | undefined },
    ): Uint8Array => {
      const answer = new Uint8Array(idCount(args.ids))
      for (let index = 0; index < answer.length; index++) {
        const row = sql.get<{ machine: number | null; type: number; plain: number }>(
          'SELECT machine, type, plain FROM chunk WHERE tenant = ? AND id = ?',
          args.tenant,
          idAt(args.ids, index),
        )
        // a node's id is not a chunk, whoever names it as one
        if (row?.type !== RECORD.chunk) continue
        const fits = row.plain === (args.lengths?.[index] ?? row.plain)
        if (!fits) answer[index] = HAVE.misfit
        else answer[index] = row.machine === args.machine ? HAVE.own : HAVE.other
      }
      return answer
    },
  ),

  /** One byte per id: 1 where a record of any type has it. */
  'chunks.indexed': read((sql: Sql, args: { tenant: number; ids: Uint8Array }): Uint8Array => {
    const answer = new Uint8Array(idCount(args.ids))
    for (let index = 0; index < answer.length; index++) {
      const id = idAt(args.ids, index)
      if (sql.get('SELECT 1 FROM chunk WHERE tenant = ? AND id = ?', args.tenant, id) !== undefined) answer[index] = 1
    }
    return answer
  }),

  /** Where each record is, or null where none has the id. */
  'chunks.locate': read((sql: Sql, args: { tenant: number; ids: Uint8Array }): (RecordLocation | null)[] =>
    Array.from(
      { length: idCount(args.ids) },
      (_, index) =>
        sql.get<RecordLocation & object>(
          `SELECT pack.uuid AS pack, chunk.offset, chunk.stored AS storedLength, chunk.plain AS plainLength,
             chunk.codec, chunk.type
           FROM chunk JOIN pack ON pack.id = chunk.pack WHERE chunk.tenant = ? AND chunk.id = ?`,
          args.tenant,
          idAt(args.ids, index),
        ) ?? null,
    ),
  ),

  /** Records that are already synced to their packs, with the packs' lengths and the upload's progress; returns the bytes newly stored. JOB_ENDED. */
  'chunks.commit': write(commitRecords),
}
