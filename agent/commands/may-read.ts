// Whether who gives a command may read what disks hold, before anything is made for what is read.
import type { Role } from '../../protocol/claims.ts'
import { VarveError } from '../../protocol/errors.ts'
import { METHODS } from '../../protocol/methods.ts'
import type { CommandContext } from './context.ts'

/** ROLE_FORBIDDEN for a role that may look at points and not into them. */
export const checkMayRead = ({ role }: Pick<CommandContext, 'role'>): void => {
  const roles: readonly Role[] = METHODS['image.download'].roles
  if (roles.includes(role)) return
  const who = role === 'platform' ? "the platform's" : `one of the role ${role}`
  throw new VarveError(
    'ROLE_FORBIDDEN',
    `the token is ${who}, which may not read what disks hold: take one of the role operator or owner of the tenant`,
  )
}
