// A person's way to a gateway from anywhere: its address, the file that holds the token, and an authority of one's own.
import { VarveError } from '../errors.ts'
import { addressFault } from './gateway-address.ts'

/** Variables of the environment that stand in for options. */
export const PERSON_VARIABLES = { gateway: 'VARVE_GATEWAY', tokenFile: 'VARVE_TOKEN_FILE', ca: 'VARVE_CA' } as const

/** The command that prints a person's token. */
export const TOKEN_PRINTED_BY = 'varve-gateway token issue'

/** What the options of a command say of it. */
export interface AwayOptions {
  readonly tokenFile?: string
  readonly ca?: string
}

/** A gateway that knows its caller by a token. */
export interface Away {
  readonly gateway: string
  /** A path, or `-` for standard input. */
  readonly tokenFile: string
  readonly ca: string | undefined
}

/** PARAMS_INVALID unless the address is a gateway's, and a token is named. */
export const awayOf = (gateway: string, { tokenFile, ca }: AwayOptions, env: NodeJS.ProcessEnv): Away => {
  const fault = addressFault(gateway, false, { plain: '', person: 'the token says who you are' })
  if (fault !== null) throw new VarveError('PARAMS_INVALID', `--gateway: ${fault}`)
  const set = (name: keyof AwayOptions): string | undefined => env[PERSON_VARIABLES[name]] || undefined
  const file = tokenFile ?? set('tokenFile')
  if (file === undefined)
    throw new VarveError(
      'PARAMS_INVALID',
      `a token is needed, as "${TOKEN_PRINTED_BY}" prints it: --token-file FILE, or ${PERSON_VARIABLES.tokenFile} in the environment`,
    )
  return { gateway, tokenFile: file, ca: ca ?? set('ca') }
}
