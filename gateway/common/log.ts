// What the datastore needs of a logger; pino's has it.

type LogLine = (fields: Readonly<Record<string, unknown>>, message: string) => void

export interface DatastoreLog {
  readonly info: LogLine
  readonly warn: LogLine
  readonly error: LogLine
}
