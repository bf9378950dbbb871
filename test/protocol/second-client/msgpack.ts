// msgpack as a client of another language might write it: by hand, with whole numbers in a form of its choice.
import { Unpackr } from 'msgpackr'

/** How whole numbers are written. */
export type Integers = 'int64' | 'float64'

const bytesOf = (size: number, fill: (view: DataView) => void): Uint8Array => {
  const bytes = new Uint8Array(size)
  fill(new DataView(bytes.buffer))
  return bytes
}

/** A type byte and a length of four bytes. */
const head32 = (type: number, length: number): Uint8Array =>
  bytesOf(5, (view) => {
    view.setUint8(0, type)
    view.setUint32(1, length)
  })

const numberBytes = (value: number, integers: Integers): Uint8Array =>
  bytesOf(9, (view) => {
    if (integers === 'int64' && Number.isInteger(value)) {
      view.setUint8(0, 0xd3)
      view.setBigInt64(1, BigInt(value))
    } else {
      view.setUint8(0, 0xcb)
      view.setFloat64(1, value)
    }
  })

const textBytes = (text: string): Uint8Array[] => {
  const bytes = new TextEncoder().encode(text)
  return [head32(0xdb, bytes.length), bytes]
}

function* parts(value: unknown, integers: Integers): Generator<Uint8Array> {
  if (value === null) yield Uint8Array.of(0xc0)
  else if (typeof value === 'boolean') yield Uint8Array.of(value ? 0xc3 : 0xc2)
  else if (typeof value === 'number') yield numberBytes(value, integers)
  else if (typeof value === 'string') yield* textBytes(value)
  else if (value instanceof Uint8Array) yield* [head32(0xc6, value.length), value]
  else if (Array.isArray(value)) {
    yield head32(0xdd, value.length)
    for (const item of value) yield* parts(item, integers)
  } else {
    const entries = Object.entries(value as object)
    yield head32(0xdf, entries.length)
    for (const [key, item] of entries) {
      yield* textBytes(key)
      yield* parts(item, integers)
    }
  }
}

/** One value, always in the longest form of each type. */
export const pack = (value: unknown, integers: Integers = 'int64'): Uint8Array =>
  Uint8Array.from(Buffer.concat([...parts(value, integers)]))

const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })

export const unpack = (bytes: Uint8Array): unknown => unpackr.unpack(bytes)
