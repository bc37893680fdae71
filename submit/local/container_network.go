package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// A run's container has a network of its own: it reaches the internet, as it would on a
// cluster, and of this machine nothing that listens on loopback but the run history, and
// no other run. Inside a container, such as the action's, the run shares that one's
// network, unless that is this machine's: there is nobody else on its loopback.

// runsNetwork is the network of the runs' containers, which stays for the next run, and
// runsBridge the network interface that it has on this machine, by which a firewall's
// rule can name it.
const (
	runsNetwork  = "aml-train"
	runsBridge   = "aml-train0"
	labelNetwork = "aml-train.network"
)

// connect returns the network of a run's container and the address under which the
// container reaches the run history that listens at base. close ends that.
func (e *engine) connect(ctx context.Context, base string) (mode container.NetworkMode, address string, close func(),
	err error) {
	if e.self != "" {
		own, err := e.ContainerInspect(ctx, e.self, client.ContainerInspectOptions{})
		if err != nil {
			return "", "", nil, fmt.Errorf("the container that this command is in: %w", err)
		}
		if h := own.Container.HostConfig; h == nil || !h.NetworkMode.IsHost() {
			return container.NetworkMode("container:" + e.self), base, func() {}, nil
		}
	}
	info, err := e.Info(ctx, client.InfoOptions{})
	if err != nil {
		return "", "", nil, err
	}
	if slices.Contains(info.Info.SecurityOptions, "name=rootless") {
		return "", "", nil,
			errors.New("the Docker Engine is rootless, so that a container cannot reach the run history on this " +
				"machine; use the system's Engine")
	}
	net, err := e.runsNetwork(ctx)
	if err != nil {
		return "", "", nil, fmt.Errorf("the network %s of the runs' containers: %w", runsNetwork, err)
	}
	host, from, name := "127.0.0.1", netip.Prefix{}, "host.docker.internal"
	// where the Engine is this machine's, not a virtual one's
	if runtime.GOOS == "linux" && info.Info.OperatingSystem != "Docker Desktop" {
		i := slices.IndexFunc(net.IPAM.Config, func(c network.IPAMConfig) bool { return c.Gateway.Is4() })
		if i < 0 {
			return "", "", nil,
				fmt.Errorf("the network %s has no gateway; docker network rm %s, and the next run makes it anew",
					runsNetwork, runsNetwork)
		}
		host, from = net.IPAM.Config[i].Gateway.String(), net.IPAM.Config[i].Subnet
		name = host
	}
	port, close, err := forward(host, from, base)
	if err != nil {
		return "", "", nil, fmt.Errorf("the run history cannot be offered to the container: %w", err)
	}
	return container.NetworkMode(net.ID), "http://" + name + ":" + port, close, nil
}

// runsNetwork returns the network of the runs' containers, which it makes if there is
// none. Containers there do not reach each other.
func (e *engine) runsNetwork(ctx context.Context) (*network.Network, error) {
	for try := 0; ; try++ {
		found, err := e.NetworkInspect(ctx, runsNetwork, client.NetworkInspectOptions{})
		if err == nil && found.Network.Labels[labelNetwork] == "" {
			return nil, errors.New("one of that name is there that aml-train did not make; rename or remove it")
		}
		if err == nil {
			return &found.Network.Network, nil
		}
		if !errdefs.IsNotFound(err) || try == 3 {
			return nil, err
		}
		_, err = e.NetworkCreate(ctx, runsNetwork, client.NetworkCreateOptions{Driver: "bridge",
			Labels: map[string]string{labelNetwork: "runs"},
			Options: map[string]string{"com.docker.network.bridge.name": runsBridge,
				"com.docker.network.bridge.enable_icc": "false"}})
		if err != nil && !errdefs.IsConflict(err) && try == 2 { // else another run was first
			return nil, err
		}
	}
}

// forward offers a server on loopback at host, to those in the network from alone, or to
// this machine where that is not valid, and returns the port.
func forward(host string, from netip.Prefix, base string) (port string, close func(), err error) {
	target, err := url.Parse(base)
	if err != nil {
		return "", nil, err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", nil, err
	}
	_, port, _ = net.SplitHostPort(l.Addr().String())
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	admit := func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || from.IsValid() && !from.Contains(peer.Addr().Unmap()) {
			http.Error(w, "this is the run history of a container on this machine", http.StatusForbidden)
			return
		}
		proxy.ServeHTTP(w, r)
	}
	srv := &http.Server{Handler: http.HandlerFunc(admit), ReadHeaderTimeout: 30 * time.Second}
	go srv.Serve(l)
	return port, func() { srv.Close() }, nil
}
