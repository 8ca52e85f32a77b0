"""How a model is served: the layout of a replica, how many of them, their scheduler and cache, what routes to them."""

from sim.deployment.deployment import Cache as Cache
from sim.deployment.deployment import CachePrecision as CachePrecision
from sim.deployment.deployment import ContextKind as ContextKind
from sim.deployment.deployment import Deployment as Deployment
from sim.deployment.deployment import Disaggregation as Disaggregation
from sim.deployment.deployment import ExpertExchange as ExpertExchange
from sim.deployment.deployment import ExpertPlacement as ExpertPlacement
from sim.deployment.deployment import Layout as Layout
from sim.deployment.deployment import Policy as Policy
from sim.deployment.deployment import Router as Router
from sim.deployment.deployment import Sampling as Sampling
from sim.deployment.deployment import Scheduling as Scheduling
from sim.deployment.deployment import Speculation as Speculation
from sim.deployment.deployment import WeightPrecision as WeightPrecision
