// The table [discover] of a configuration: a libvirt whose domains are taken up by themselves.
import * as v from 'valibot'
import { libvirtUri } from '../libvirt/uri-schema.ts'

/** Patterns of one list at most. */
const PATTERNS_MAX = 256

/** Longest pattern, in characters. */
const PATTERN_CHARS_MAX = 255

const patterns = v.pipe(
  v.array(v.pipe(v.string(), v.minLength(1), v.maxLength(PATTERN_CHARS_MAX))),
  v.maxLength(PATTERNS_MAX),
)

export const discoverSchema = v.strictObject({
  libvirt: libvirtUri,
  /** Patterns of domains that are taken up. */
  include: v.optional(patterns, ['*']),
  /** Patterns of domains that are not, whatever `include` says. */
  exclude: v.optional(patterns, []),
})

export type DiscoverSettings = Readonly<v.InferOutput<typeof discoverSchema>>
