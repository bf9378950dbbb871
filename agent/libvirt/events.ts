// The events that a connection asks libvirt for, and how they are read.
import { VarveError } from '../../protocol/errors.ts'
import { blockJobOf, blockJobStateOf, ioErrorActionOf, lifecycleDetailOf, lifecycleOf } from './codes.ts'
import type { LibvirtEvent } from './types.ts'
import { readDomain, readJob } from './wire.ts'
import { XdrReader } from './xdr.ts'

interface EventKind {
  /** The number by which the event is asked for. */
  readonly event: number
  /** The procedure of the message that carries it. */
  readonly procedure: number
  readonly read: (reader: XdrReader) => LibvirtEvent
}

/** State of a guest's agent that answers. */
const AGENT_CONNECTED = 1

const KINDS: readonly EventKind[] = [
  {
    event: 0,
    procedure: 318,
    read: (reader) => {
      const domain = readDomain(reader)
      const event = lifecycleOf(reader.i32())
      return { kind: 'lifecycle', domain, event, detail: lifecycleDetailOf(event, reader.i32()) }
    },
  },
  {
    event: 6,
    procedure: 324,
    read: (reader) => ({
      kind: 'io-error',
      domain: readDomain(reader),
      path: reader.string(),
      device: reader.string(),
      action: ioErrorActionOf(reader.i32()),
      reason: reader.string(),
    }),
  },
  {
    event: 16,
    procedure: 339,
    read: (reader) => ({
      kind: 'block-job',
      domain: readDomain(reader),
      disk: reader.string(),
      job: blockJobOf(reader.i32()),
      state: blockJobStateOf(reader.i32()),
    }),
  },
  {
    event: 18,
    procedure: 348,
    read: (reader) => {
      const domain = readDomain(reader)
      const connected = reader.i32() === AGENT_CONNECTED
      reader.i32() // why
      return { kind: 'agent', domain, connected }
    },
  },
  {
    event: 20,
    procedure: 359,
    read: (reader) => ({ kind: 'migration-iteration', domain: readDomain(reader), iteration: reader.i32() }),
  },
  {
    event: 21,
    procedure: 363,
    read: (reader) => ({ kind: 'job-completed', domain: readDomain(reader), job: readJob(reader, 'completed') }),
  },
  {
    event: 24,
    procedure: 385,
    read: (reader) => ({
      kind: 'block-threshold',
      domain: readDomain(reader),
      device: reader.string(),
      path: reader.optional(() => reader.string()),
      threshold: reader.u64(),
      excess: reader.u64(),
    }),
  },
]

/** The numbers of the events that a connection asks for. */
export const EVENT_NUMBERS: readonly number[] = KINDS.map(({ event }) => event)

/** Reads one event's message. LIBVIRT_PROTOCOL for one that was not asked for or does not read. */
export const readEvent = (procedure: number, payload: Buffer): LibvirtEvent => {
  const kind = KINDS.find((known) => known.procedure === procedure)
  if (kind === undefined) {
    throw new VarveError('LIBVIRT_PROTOCOL', `libvirt sent an event of procedure ${procedure}, which was not asked for`)
  }
  const reader = new XdrReader(payload)
  reader.i32() // the number of the asking
  const event = kind.read(reader)
  reader.end()
  return event
}
