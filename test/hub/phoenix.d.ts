/** The part of the official client (1.8) that the tests use. */
declare module "phoenix" {
  export interface Push {
    receive(status: "ok" | "error" | "timeout", callback: (response: unknown) => void): Push;
  }
  export interface Channel {
    join(timeoutMs?: number): Push;
    leave(): Push;
    push(event: string, payload: object, timeoutMs?: number): Push;
    on(event: string, callback: (payload: unknown) => void): number;
    onError(callback: (reason: unknown) => void): number;
    onClose(callback: () => void): number;
  }
  export class Socket {
    constructor(
      endPoint: string,
      options: { readonly transport: unknown; readonly heartbeatIntervalMs?: number },
    );
    connect(): void;
    disconnect(callback?: () => void, code?: number): void;
    channel(topic: string, params?: object | (() => object)): Channel;
    onOpen(callback: () => void): string;
  }
}
