// A schema in words: the notation in which METHODS.md shows parameters, results and messages.
import type * as v from 'valibot'

/** How a schema is shown where it stands: by a name that the page explains elsewhere, or whole. */
export interface Naming {
  /** Null for a schema without a name of its own. */
  readonly nameOf: (schema: unknown) => string | null
  /** What is said beside a field; empty where nothing is. */
  readonly remarkOf: (context: string, field: string) => string
}

/** What is read of a schema and of the steps of its pipe, whatever library type it has. */
interface Part {
  readonly kind: string
  readonly type: string
  readonly pipe?: readonly Part[]
  readonly requirement?: unknown
  readonly message?: unknown
  readonly literal?: unknown
  readonly options?: readonly unknown[]
  readonly item?: Part
  /** Of a record. */
  readonly value?: Part
  readonly items?: readonly Part[]
  readonly wrapped?: Part
  readonly default?: unknown
  readonly entries?: Readonly<Record<string, Part>>
}

interface Place extends Naming {
  /** Where remarks on fields are looked for. */
  readonly context: string
  readonly indent: string
}

const requirementOf = (steps: readonly Part[], type: string): unknown =>
  steps.findLast((step) => step.type === type)?.requirement

/** What a field holds where it is there. */
const presentPart = (part: Part): Part => (part.type === 'optional' ? presentPart(part.wrapped!) : part)

/** Every step of a pipe, those of the pipes that it begins with first. */
const stepsOf = (part: Part): readonly Part[] => {
  const [first, ...rest] = part.pipe ?? []
  return first === undefined ? [] : [...stepsOf(first), ...rest]
}

const numberText = (value: unknown): string => {
  if (value === Number.MAX_SAFE_INTEGER) return '2^53 - 1'
  return Number(value).toLocaleString('en-US')
}

/** `MIN to MAX` of a pipe's limits on `what`, or an empty text. */
const rangeText = (least: unknown, most: unknown, what: string): string => {
  const unit = what === '' ? '' : ` ${what}`
  if (least !== undefined && most !== undefined)
    return least === most ? ` of ${numberText(most)}${unit}` : ` of ${numberText(least)} to ${numberText(most)}${unit}`
  if (most !== undefined) return ` of at most ${numberText(most)}${unit}`
  return least === undefined ? '' : ` of at least ${numberText(least)}${unit}`
}

const numberShape = (steps: readonly Part[]): string => {
  const whole = steps.some(({ type }) => type === 'safe_integer' || type === 'integer')
  const least = requirementOf(steps, 'min_value')
  const most = requirementOf(steps, 'max_value')
  return `${whole ? 'int' : 'float'}${rangeText(least, most, '')}`
}

const stringShape = (steps: readonly Part[]): string => {
  const least = requirementOf(steps, 'min_length')
  const most = requirementOf(steps, 'max_length')
  const pattern = requirementOf(steps, 'regex')
  const never = requirementOf(steps, 'not_value')
  const matching = pattern instanceof RegExp ? ` that matches ${pattern.source}` : ''
  return `string${rangeText(least, most, 'characters')}${matching}${typeof never === 'string' ? `, never "${never}"` : ''}`
}

/** Bins are checked by functions, whose messages say what they must be. */
const binShape = (message: unknown): string => {
  const [, bound] = /^not (.+)$/u.exec(String(message)) ?? []
  if (bound === undefined) throw new Error(`a schema without a shape: ${String(message)}`)
  return `bin of ${bound.replaceAll(/\d{4,}/gu, numberText)}`
}

const literalShape = (value: unknown): string => (typeof value === 'string' ? `"${value}"` : String(value))

const fieldLines = (part: Part, place: Place): string => {
  const fields = Object.entries(part.entries ?? {})
  if (fields.length === 0) return '{}'
  const indent = `${place.indent}  `
  const lines = fields.map(([field, inner]) => {
    const optional = inner.type === 'optional'
    const fallback = optional && inner.default !== undefined ? `, else ${JSON.stringify(inner.default)}` : ''
    const shape = shapeOf(presentPart(inner), { ...place, indent })
    const remark = place.remarkOf(place.context, field)
    const above = remark === '' ? '' : `${indent}# ${remark}\n`
    return `${above}${indent}${field}${optional ? '?' : ''}: ${shape}${fallback}\n`
  })
  return `{\n${lines.join('')}${place.indent}}`
}

/** Alternatives: on lines of their own where one of them is long. */
const unionShape = (parts: readonly Part[], place: Place): string => {
  const indent = `${place.indent}  `
  const shapes = parts.map((part) => shapeOf(part, { ...place, indent }))
  const long = shapes.some((shape) => shape.includes('\n') || shape.startsWith('['))
  return long ? shapes.map((shape) => `\n${indent}| ${shape}`).join('') : shapes.join(' | ')
}

/** The shape of what a list holds, in parentheses where there is a choice. */
const itemShape = (part: Part, place: Place): string => {
  const shape = shapeOf(part, place)
  if (shape.startsWith('\n')) return `(${shape}\n${place.indent})`
  return part.type === 'nullable' || (part.type === 'union' && place.nameOf(part) === null) ? `(${shape})` : shape
}

/** What this part itself says, whether or not it has a name. */
export const wholeShape = (part: Part, place: Place): string => {
  const steps = stepsOf(part)
  switch (part.type) {
    case 'number':
      return numberShape(steps)
    case 'string':
      return stringShape(steps)
    case 'boolean':
      return 'bool'
    case 'null':
      return 'nil'
    case 'custom':
      return binShape(part.message)
    case 'literal':
      return literalShape(part.literal)
    case 'picklist':
      return (part.options ?? []).map(literalShape).join(' | ')
    case 'nullable':
      return `nil | ${shapeOf(part.wrapped!, place)}`
    case 'array': {
      const range = rangeText(requirementOf(steps, 'min_length'), requirementOf(steps, 'max_length'), '')
      return `list${range} of ${itemShape(part.item!, place)}`
    }
    case 'tuple':
      return `[${part.items!.map((item) => shapeOf(item, place)).join(', ')}]`
    case 'union':
      return unionShape((part.options ?? []) as readonly Part[], place)
    case 'object':
      return fieldLines(part, place)
    case 'record':
      return `map of string to ${itemShape(part.value!, place)}`
    default:
      throw new Error(`METHODS.md has no words for a schema of type ${part.type}`)
  }
}

const shapeOf = (part: Part, place: Place): string => place.nameOf(part) ?? wholeShape(part, place)

/** The shape of a schema, by its name where it has one. */
export const schemaShape = (schema: v.GenericSchema, context: string, naming: Naming): string =>
  shapeOf(schema, { ...naming, context, indent: '' })

/** The shape of a schema that has a name, whole. */
export const namedShape = (schema: v.GenericSchema, context: string, naming: Naming): string =>
  wholeShape(schema, { ...naming, context, indent: '' })
