// What the page uses of Preact's hooks, for the type checker.
export function useState<T>(initial: T | (() => T)): [T, (next: T | ((old: T) => T)) => void];
export function useEffect(effect: () => undefined | void | (() => void), inputs?: readonly unknown[]): void;
export function useLayoutEffect(effect: () => undefined | void | (() => void), inputs?: readonly unknown[]): void;
export function useRef<T>(initial: T): { current: T };
export function useMemo<T>(make: () => T, inputs: readonly unknown[]): T;
// biome-ignore lint/suspicious/noExplicitAny: the argument types are those of the function that is given
export function useCallback<T extends (...given: any[]) => unknown>(callback: T, inputs: readonly unknown[]): T;
export function useId(): string;
export function useErrorBoundary(callback?: (error: unknown) => void): [unknown, () => void];
