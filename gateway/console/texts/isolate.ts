// A name that somebody else chose, within a sentence.

/** The name between marks that keep it from changing the direction in which the words around it are shown. */
export const isolate = (name: string): string => `\u2068${name}\u2069`
