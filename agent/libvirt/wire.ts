// How the things of libvirt's calls stand on the wire: machines, checkpoints, typed parameters, jobs.
import { VarveError } from '../../protocol/errors.ts'
import { jobOperationOf, jobTypeOf } from './codes.ts'
import type { LibvirtCheckpoint, LibvirtDomain, LibvirtJob, LibvirtSnapshot, LibvirtValue } from './types.ts'
import type { XdrReader, XdrWriter } from './xdr.ts'

/** Most domains, checkpoints or snapshots in one answer: libvirt's own limit. */
export const LIST_MAX = 16_384

/** Most parameters of a job; libvirt's own limit is 64, and grows. */
const JOB_VALUES_MAX = 1024

/** Number that stands for no running instance. */
const ID_NONE = -1

const UUID_BYTES = 16
const UUID_PATTERN = /^[\da-f]{8}(?:-?[\da-f]{4}){3}-?[\da-f]{12}$/iu

/** A uuid's bytes, of text with or without its dashes. PARAMS_INVALID for text that is none. */
export const uuidBytes = (uuid: string): Buffer => {
  if (!UUID_PATTERN.test(uuid))
    throw new VarveError('PARAMS_INVALID', `${JSON.stringify(uuid.slice(0, 64))} is no uuid`)
  return Buffer.from(uuid.replaceAll('-', ''), 'hex')
}

const uuidText = (bytes: Buffer): string =>
  bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/u, '$1-$2-$3-$4-$5')

export const writeDomain = (writer: XdrWriter, { name, uuid, id }: LibvirtDomain): XdrWriter =>
  writer
    .string(name)
    .fixed(uuidBytes(uuid))
    .i32(id ?? ID_NONE)

export const readDomain = (reader: XdrReader): LibvirtDomain => {
  const name = reader.string()
  const uuid = uuidText(reader.fixed(UUID_BYTES))
  const id = reader.i32()
  return { name, uuid, id: id < 0 ? null : id }
}

/** A name within a domain: a checkpoint or a snapshot. */
export const writeNamed = (writer: XdrWriter, { name, domain }: LibvirtCheckpoint | LibvirtSnapshot): XdrWriter =>
  writeDomain(writer.string(name), domain)

export const readNamed = (reader: XdrReader): LibvirtCheckpoint => {
  const name = reader.string()
  return { name, domain: readDomain(reader) }
}

/** A typed parameter's value, by libvirt's number of its type. */
const readValue = (reader: XdrReader): LibvirtValue => {
  const type = reader.i32()
  switch (type) {
    case 1:
      return reader.i32()
    case 2:
      return reader.u32()
    case 3:
      return reader.i64()
    case 4:
      return reader.u64()
    case 5:
      return reader.f64()
    case 6:
      return reader.bool()
    case 7:
      return reader.words()
    default:
      throw new VarveError('LIBVIRT_PROTOCOL', `libvirt sent a parameter of unknown type ${type}`)
  }
}

const numberOr = (value: LibvirtValue | undefined): number | null =>
  typeof value === 'number' || typeof value === 'bigint' ? Number(value) : null

/** A job's parameters, of a type that is read or known already. */
export const readJob = (reader: XdrReader, type = jobTypeOf(reader.i32())): LibvirtJob => {
  const values = new Map(
    reader.list(JOB_VALUES_MAX, () => [reader.string(), readValue(reader)] as [string, LibvirtValue]),
  )
  const success = values.get('success')
  const errorMessage = values.get('errmsg')
  return {
    type,
    operation: jobOperationOf(numberOr(values.get('operation')) ?? 0),
    elapsedMs: numberOr(values.get('time_elapsed')),
    diskTotal: numberOr(values.get('disk_total')),
    diskProcessed: numberOr(values.get('disk_processed')),
    scratchUsed: numberOr(values.get('disk_temp_used')),
    scratchTotal: numberOr(values.get('disk_temp_total')),
    success: typeof success === 'boolean' ? success : null,
    errorMessage: typeof errorMessage === 'string' ? errorMessage : null,
    values,
  }
}
