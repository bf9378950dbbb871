// The chunk index: which record of which pack holds an id of a tenant; ids travel packed, 32 bytes each.
import { HAVE, type RecordCommit } from '../records.ts'
import { ID_BYTES } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { idAt } from '../../../protocol/host/bytes.ts'
import { RECORD, shareOf, type RecordLocation } from '../../packs/format.ts'
import { heal } from './damage.ts'
import { growPacks } from './packs.ts'
import { read, write, type Operations } from './operation.ts'
import { findMachineRow } from './machine-row.ts'
import type { Sql } from './sql.ts'
import type { Rowed } from './tenant-row.ts'

const idCount = (ids: Uint8Array): number => Math.floor(ids.length / ID_BYTES)

const INSERT = `INSERT OR IGNORE INTO chunk (tenant, id, type, pack, offset, stored, plain, codec, machine, parts, place)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

const insertRecords = (sql: Sql, commit: Rowed<RecordCommit>): number => {
  const sender = commit.machine === null ? null : findMachineRow(sql, commit.tenant, commit.machine)
  let storedBytes = 0
  const healed: Uint8Array[] = []
  for (const [index, record] of commit.records.entries()) {
    const { type, pack, offset, storedLength, plainLength, codec, parts, place } = record
    const machine = type === RECORD.chunk ? sender : null
    const id = idAt(commit.ids, index)
    const values = [type, pack, offset, storedLength, plainLength, codec, machine, parts, place]
    const added = sql.run(INSERT, commit.tenant, id, ...values)
    if (added === 0) continue
    storedBytes += shareOf(record)
    healed.push(id)
  }
  heal(sql, commit.tenant, healed)
  return storedBytes
}

const updateUpload = (sql: Sql, { upload, progress }: Rowed<RecordCommit>, storedBytes: number): void => {
  if (upload === null) return
  sql.run('UPDATE upload SET stored = stored + ? WHERE job = ? AND disk = ?', storedBytes, upload.job, upload.disk)
  if (progress === null) return
  const rows = sql.run(
    `UPDATE upload SET position = ?, state = ?, received = ?, changed = ?, finished = ?, root = ?
     WHERE job = ? AND disk = ?`,
    progress.position,
    progress.state,
    progress.bytesSent,
    progress.changedBytes,
    progress.finished ? 1 : 0,
    progress.root,
    upload.job,
    upload.disk,
  )
  if (rows === 0) throw new VarveError('JOB_ENDED', 'the upload is no longer there')
}

/**
 * Records that are already synced to their packs, with the packs' lengths and the upload's progress; returns the bytes newly
 * stored. JOB_ENDED.
 */
export const commitRecords = (sql: Sql, commit: Rowed<RecordCommit>): number => {
  growPacks(sql, commit.packs)
  const storedBytes = insertRecords(sql, commit)
  updateUpload(sql, commit, storedBytes)
  return storedBytes
}

export const recordOperations = {
  'records.have': read((sql, args) => {
    const answer = new Uint8Array(idCount(args.ids))
    const machine = findMachineRow(sql, args.tenant, args.machine)
    for (let index = 0; index < answer.length; index++) {
      const row = sql.get<{ machine: number | null; type: number; plain: number }>(
        'SELECT machine, type, plain FROM chunk WHERE tenant = ? AND id = ?',
        args.tenant,
        idAt(args.ids, index),
      )
      // a node's id is never a chunk, even if an agent announces it as one
      if (row?.type !== RECORD.chunk) continue
      const fits = row.plain === (args.lengths?.[index] ?? row.plain)
      if (!fits) answer[index] = HAVE.misfit
      else answer[index] = row.machine !== null && row.machine === machine ? HAVE.own : HAVE.other
    }
    return answer
  }),

  'records.indexed': read((sql, args) => {
    const answer = new Uint8Array(idCount(args.ids))
    for (let index = 0; index < answer.length; index++) {
      const id = idAt(args.ids, index)
      if (sql.get('SELECT 1 FROM chunk WHERE tenant = ? AND id = ?', args.tenant, id) !== undefined) answer[index] = 1
    }
    return answer
  }),

  'records.locate': read((sql, args) =>
    Array.from(
      { length: idCount(args.ids) },
      (_, index) =>
        sql.get<RecordLocation & object>(
          `SELECT pack.uuid AS pack, chunk.offset, chunk.stored AS storedLength, chunk.plain AS plainLength,
             chunk.codec, chunk.type, chunk.parts, chunk.place
           FROM chunk JOIN pack ON pack.id = chunk.pack WHERE chunk.tenant = ? AND chunk.id = ?`,
          args.tenant,
          idAt(args.ids, index),
        ) ?? null,
    ),
  ),

  'records.commit': write(commitRecords),
} satisfies Partial<Operations>
