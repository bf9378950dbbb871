// Puts something between a catalog and its callers: every call of every method passes through one function.
import type { Catalog } from '../../gateway/catalog/catalog.ts'
import type { OperationName } from '../../gateway/catalog/sqlite/operations.ts'

/** What a call passes through: its name, such as `points.list`, its argument, and the call itself. */
export type Intercept = (name: OperationName, args: unknown, call: () => Promise<unknown>) => Promise<unknown>

type Methods = Record<string, (args: unknown, entry: unknown) => Promise<unknown>>

/** What of a catalog is subjects: one on threads says of itself whether it is damaged. */
const subjectsOf = (catalog: Catalog): [string, Methods][] =>
  Object.entries(catalog as unknown as Record<string, Methods>).filter(([, one]) => typeof one === 'object')

/** A catalog with the same methods, whose calls pass through `between`. */
export const intercepted = (catalog: Catalog, between: Intercept): Catalog =>
  Object.fromEntries(
    subjectsOf(catalog).map(([subject, methods]) => [
      subject,
      Object.fromEntries(
        Object.entries(methods).map(([method, run]) => [
          method,
          (args: unknown, entry: unknown) =>
            between(`${subject}.${method}` as OperationName, args, () => run(args, entry)),
        ]),
      ),
    ]),
  ) as unknown as Catalog

/** The same for a catalog that others hold already; what is returned takes it away again. */
export const intercept = (catalog: Catalog, between: Intercept): (() => void) => {
  const before = Object.fromEntries(subjectsOf(catalog))
  Object.assign(catalog, intercepted(catalog, between))
  return () => void Object.assign(catalog, before)
}
