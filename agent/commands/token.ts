// Reads an enrolment token from a file, standard input or the environment, which other users of the host cannot see;
// or from the command line, which they can.
import { VarveError } from '../../protocol/errors.ts'
import { checkedToken, STDIN, tokenIn } from '../../protocol/host/token-file.ts'

/** The environment variable that holds the token where no option gives one. */
export const TOKEN_VARIABLE = 'VARVE_ENROLMENT_TOKEN'

export interface TokenOptions {
  /** The token, or `-`. */
  readonly token?: string
  /** Path of a file that holds it, or `-`. */
  readonly tokenFile?: string
}

const PRINTED_BY = 'varve-gateway enrol'

/** The token of an enrolment; PARAMS_INVALID where there is none, or more than one place is named. */
export const readToken = async (
  { token, tokenFile }: TokenOptions,
  from: { readonly env: NodeJS.ProcessEnv; readonly input: NodeJS.ReadableStream } = {
    env: process.env,
    input: process.stdin,
  },
): Promise<string> => {
  if (token !== undefined && tokenFile !== undefined)
    throw new VarveError('PARAMS_INVALID', 'give the token only once: with --token-file or --token')
  const file = token === STDIN ? token : tokenFile
  if (file !== undefined) return tokenIn({ file, printedBy: PRINTED_BY, input: from.input })
  if (token !== undefined) return checkedToken(token, '--token', PRINTED_BY)
  const variable = from.env[TOKEN_VARIABLE]
  if (variable !== undefined) return checkedToken(variable, TOKEN_VARIABLE, PRINTED_BY)
  throw new VarveError(
    'PARAMS_INVALID',
    `a token is needed, as "varve-gateway enrol" prints it: --token-file FILE, --token - (standard input), or ${TOKEN_VARIABLE} in the environment`,
  )
}
