// Errors of the operating system, as Node throws them.

const isSystemError = (thrown: unknown): thrown is NodeJS.ErrnoException & { readonly code: string } =>
  thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string'

/** The system's name for an error, such as `ENOENT`; null for any other error. */
export const systemCode = (thrown: unknown): string | null => (isSystemError(thrown) ? thrown.code : null)

/** True for an error of the operating system with one of these codes. */
export const hasCode = (thrown: unknown, ...codes: readonly string[]): boolean =>
  isSystemError(thrown) && codes.includes(thrown.code)
