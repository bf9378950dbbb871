// The embedded database behind one small interface: opening, pragmas, cached statements, transactions.
import { statSync } from 'node:fs'
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { VarveError } from '../../../protocol/errors.ts'
import { Ballast } from '../../folder/ballast.ts'
import { failpoint } from '../../common/failpoint.ts'
import { MIGRATIONS } from './schema.ts'

/** How long a statement waits for another process's lock (the command line beside a running gateway), in milliseconds. */
const BUSY_TIMEOUT_MS = 10_000

/** How long the log waits for readers where there is something else that can be done, in milliseconds. */
const READERS_WAIT_MS = 500

/**
 * Pages of the database that the writing connection keeps, in KiB: what one commit of an upload changes. Ids are random, so each
 * row of the index is in a page of its own; with SQLite's 2 MiB such pages go to the log and come back several times.
 */
const CACHE_KIB = 8 * 1024

/** Pages after which the log is written back into the database: several commits of uploads, which mostly change the same ones. */
const LOG_PAGES = 2000

/** A value that a statement is given. */
export type SqlValue = SQLInputValue

export type Row = Record<string, string | number | bigint | Uint8Array | null>

/** One open SQLite database; synchronous, so it lives on a thread of its own in a running gateway. */
export class Sql implements Disposable {
  /** What is freed when the disk is full. */
  readonly ballast: Ballast
  readonly #path: string
  readonly #db: DatabaseSync
  readonly #statements = new Map<string, StatementSync>()

  /**
   * Opens or creates the database and brings its schema up to date; STORE_VERSION when it is newer than this program. With
   * `readOnly` it only reads one that another connection of this program keeps open.
   */
  constructor(path: string, { readOnly = false } = {}) {
    this.ballast = Ballast.beside(path)
    this.#path = path
    this.#db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS, readOnly })
    try {
      if (readOnly) {
        this.#db.exec('PRAGMA temp_store = MEMORY')
        this.#checkVersion()
        return
      }
      // sorting and statement journals go to memory, as a full disk has no room for them
      this.#db.exec(
        'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;',
      )
      this.#db.exec(`PRAGMA cache_size = -${CACHE_KIB}; PRAGMA wal_autocheckpoint = ${LOG_PAGES}`)
      // a row that REPLACE deletes counts as removed
      this.#db.exec('PRAGMA recursive_triggers = ON')
      this.#migrate()
    } catch (error) {
      this.#db.close()
      throw error
    }
  }

  /** The same on a disk that may be full: the files that SQLite creates beside the database may use the ballast. */
  static open(path: string): Sql {
    return Ballast.beside(path).draw(() => new Sql(path))
  }

  /** How SQLite would run a statement, one line for each step; for tests of what listings cost. */
  plan(text: string, ...values: SQLInputValue[]): string[] {
    const steps = this.#db.prepare(`EXPLAIN QUERY PLAN ${text}`).all(...values) as { detail: string }[]
    return steps.map(({ detail }) => detail)
  }

  all<R extends object = Row>(text: string, ...values: SQLInputValue[]): R[] {
    return this.#statement(text).all(...values) as R[]
  }

  get<R extends object = Row>(text: string, ...values: SQLInputValue[]): R | undefined {
    return this.#statement(text).get(...values) as R | undefined
  }

  /** Rows one after the other as arrays of their columns, for what does not fit into memory. */
  *rows<R extends readonly unknown[]>(text: string, ...values: SQLInputValue[]): Generator<R> {
    const statement = this.#db.prepare(text)
    statement.setReturnArrays(true)
    for (const row of statement.iterate(...values)) yield row as unknown as R
  }

  /** Rows one after the other: no more are read than are taken. */
  *each<R extends object>(text: string, ...values: SQLInputValue[]): Generator<R> {
    for (const row of this.#db.prepare(text).iterate(...values)) yield row as R
  }

  /** Rows changed. */
  run(text: string, ...values: SQLInputValue[]): number {
    return Number(this.#statement(text).run(...values).changes)
  }

  /** Runs `work` on one snapshot of the database; thousands of look-ups then take a single lock. */
  snapshot<R>(work: () => R): R {
    this.run('BEGIN')
    try {
      return work()
    } finally {
      if (this.#db.isTransaction) this.run('COMMIT')
    }
  }

  /** Runs `work` in one immediate transaction: all of it or nothing. */
  transaction<R>(work: () => R): R {
    this.#db.exec('BEGIN IMMEDIATE')
    try {
      const result = work()
      failpoint('transaction.before')
      this.#db.exec('COMMIT')
      failpoint('transaction.after')
      return result
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
      throw error
    }
  }

  /**
   * Writes the log back into the database, so that the next transaction begins it anew in the space it has. While anybody reads a
   * state of before, neither is possible: it waits READERS_WAIT_MS for them, or BUSY_TIMEOUT_MS if `patient`, and then does what
   * they allow.
   */
  restartLog({ patient }: { readonly patient: boolean }): void {
    this.#db.exec(`PRAGMA busy_timeout = ${patient ? BUSY_TIMEOUT_MS : READERS_WAIT_MS}`)
    try {
      this.#db.exec('PRAGMA wal_checkpoint(RESTART)')
    } finally {
      this.#db.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`)
    }
  }

  /** Bytes by which the database's file is shorter than the database: what the log must still write behind its end. */
  get unwrittenBytes(): number {
    const { pages } = this.get<{ pages: number }>('SELECT page_count AS pages FROM pragma_page_count')!
    const { bytes } = this.get<{ bytes: number }>('SELECT page_size AS bytes FROM pragma_page_size')!
    return Math.max(0, pages * bytes - (statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0))
  }

  [Symbol.dispose](): void {
    this.#statements.clear()
    this.#db.close()
  }

  #statement(text: string): StatementSync {
    let statement = this.#statements.get(text)
    if (statement === undefined) {
      statement = this.#db.prepare(text)
      this.#statements.set(text, statement)
    }
    return statement
  }

  #checkVersion(): number {
    const version = this.get<{ user_version: number }>('PRAGMA user_version')?.user_version ?? 0
    if (version <= MIGRATIONS.length) return version
    throw new VarveError(
      'STORE_VERSION',
      `the datastore has schema ${version}, this program knows up to ${MIGRATIONS.length}`,
    )
  }

  /** All in one transaction: a new database is one write to the disk, and what cannot be brought up to date stays as it was. */
  #migrate(): void {
    if (this.#checkVersion() === MIGRATIONS.length) return
    this.transaction(() => {
      // another process may have migrated between the check and the lock
      const version = this.#checkVersion()
      for (const migration of MIGRATIONS.slice(version)) this.#db.exec(migration)
      this.#db.exec(`PRAGMA user_version = ${MIGRATIONS.length}`)
    })
  }
}
