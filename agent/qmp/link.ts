// One machine's long-lived QMP connection, which reconnects.
import { VarveError } from '../../protocol/errors.ts'
import { LastingLink, type LinkState, type LinkTiming } from '../lasting-link.ts'
import { QMP_CONNECT_LIMIT_MS, QmpClient } from './client.ts'
import type { QmpEvent } from './message.ts'

export type QmpLinkState = LinkState

export interface QmpLinkOptions extends LinkTiming {
  readonly path: string
  /** How long one attempt may take, in milliseconds. */
  readonly timeoutMs?: number
}

/** The one QMP connection of a machine; its client fails with QMP_UNAVAILABLE when it cannot connect. */
export class QmpLink extends LastingLink<QmpClient, QmpEvent> {
  readonly path: string

  constructor({ path, timeoutMs = QMP_CONNECT_LIMIT_MS, ...timing }: QmpLinkOptions) {
    super({
      ...timing,
      connect: () => QmpClient.connect({ path, timeoutMs }),
      closedError: () => new VarveError('QMP_UNAVAILABLE', `the QMP link to ${path} is closed`),
    })
    this.path = path
  }
}
