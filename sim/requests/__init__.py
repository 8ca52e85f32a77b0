"""What comes to a server: requests with their lengths, when they come, and which of them begin alike."""

from sim.requests.checks import check as check
from sim.requests.description import Description as Description
from sim.requests.description import described as described
from sim.requests.load import Bursts as Bursts
from sim.requests.load import Distribution as Distribution
from sim.requests.load import Diurnal as Diurnal
from sim.requests.load import Load as Load
from sim.requests.load import Prefix as Prefix
from sim.requests.load import Sessions as Sessions
from sim.requests.making import made as made
from sim.requests.requests import Names as Names
from sim.requests.requests import Requests as Requests
