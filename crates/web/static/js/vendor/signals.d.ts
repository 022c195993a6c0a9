// What the page uses of signals, for the type checker.
export type Signal<T> = { value: T; peek(): T; subscribe(listener: (value: T) => void): () => void };
export type ReadonlySignal<T> = { readonly value: T; peek(): T; subscribe(listener: (value: T) => void): () => void };
export function signal<T>(value: T): Signal<T>;
export function computed<T>(compute: () => T): ReadonlySignal<T>;
export function effect(run: () => undefined | void | (() => void)): () => void;
export function batch<T>(run: () => T): T;
export function untracked<T>(run: () => T): T;
export function useSignal<T>(value: T): Signal<T>;
export function useComputed<T>(compute: () => T): ReadonlySignal<T>;
export function useSignalEffect(run: () => undefined | void | (() => void)): void;
