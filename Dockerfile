# The action's image: one static binary, the certificates that it trusts, and
# time zones. It runs as root, as actions in containers have to: the workspace is
# another user's.
FROM golang:1.26 AS build
# Where modules come from, for a build without a network say.
ARG GOPROXY
ARG GOMODCACHE
ARG GOFLAGS
ARG VERSION
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X github.com/org/aml-train/internal/version.release=$VERSION" -o /aml-train .

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/local/go/lib/time/zoneinfo.zip /zoneinfo.zip
COPY --from=build /aml-train /aml-train
ENV ZONEINFO=/zoneinfo.zip
ENTRYPOINT ["/aml-train"]
