// Who acts when the gateway acts by itself.

/** The subject of jobs, runs and audit entries of the gateway itself, and the role that its entries name. */
export const SYSTEM = { subject: 'varve', role: 'platform' } as const
